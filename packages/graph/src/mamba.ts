import type { MambaSpec, NormSpec } from "@layerfold/core";
import type { Value } from "@layerfold/onnx";
import { activate } from "./activation.js";
import type { BlockContext } from "./block-context.js";
import { blockLinear } from "./linear.js";
import { normalize } from "./norm.js";

/**
 * Selective state space of a block on the normed stream (Mamba, arXiv 2312.00752, algorithm 2; the norms on Δ, B and C are Jamba's,
 * arXiv 2403.19887): h_t = exp(Δ_t A) h_(t−1) + Δ_t B_t x_t, y_t = C_t h_t + D x_t, scanned token by token in float32. Padding on the
 * right comes after all real tokens, so that it reaches none; what is remembered leaves it out where the sequence says which it is.
 */
export function mamba(context: BlockContext, spec: MambaSpec, input: Value): Value {
  const { graph, state, sequence } = context;
  const { innerSize, stateSize, convolutionSize, timeStepRank, epsilon } = spec;
  const int64 = (...values: number[]) => graph.constant("int64", values);
  const [x, gate] = graph.nodes("Split", [blockLinear(context, input, "mamba.in")], {
    outputs: 2,
    ints: { axis: -1, num_outputs: 2 },
  });

  // A causal convolution over each channel's last tokens: those before this run, else zeros, are put in front.
  const channels = graph.node("Transpose", [x], { ints: { perm: [0, 2, 1] } });
  const reach = convolutionSize - 1;
  const before = state?.past("convolution", ["batch", innerSize, reach]);
  const extended =
    before === undefined
      ? graph.node("Pad", [channels, int64(0, 0, reach, 0, 0, 0)])
      : graph.node("Concat", [before, channels], { ints: { axis: 2 } });
  if (state) {
    state.present("convolution", lastChannels(context, extended, reach), ["batch", innerSize, reach]);
  }
  const kernel = [context.weight("mamba.conv")];
  if (context.has("mamba.conv.bias")) kernel.push(context.weight("mamba.conv.bias"));
  const convolved = graph.node("Conv", [extended, ...kernel], { ints: { group: innerSize } });
  const u = activate(
    graph,
    graph.node("Transpose", [convolved], { ints: { perm: [0, 2, 1] } }),
    spec.activation,
  );

  const sizes = int64(timeStepRank, stateSize, stateSize);
  const parts = graph.nodes("Split", [blockLinear(context, u, "mamba.x"), sizes], {
    outputs: 3,
    ints: { axis: -1 },
  });
  const normed = (value: Value, role: string, size: number) => {
    const form: NormSpec = { kind: "rms", epsilon, weightOffset: 0, weight: role };
    return context.has(role) ? normalize(graph, value, form, size, context.weight) : value;
  };
  const timeStep = normed(parts[0], "mamba.dt_norm", timeStepRank);
  const inputMap = normed(parts[1], "mamba.b_norm", stateSize);
  const outputMap = normed(parts[2], "mamba.c_norm", stateSize);
  let delta = graph.node("Softplus", [blockLinear(context, timeStep, "mamba.dt")]);
  // A time step of 0 keeps the state as it is.
  if (sequence.real) delta = graph.node("Mul", [delta, sequence.real.mask]);
  const decay = graph.node("Neg", [graph.node("Exp", [context.weight("mamba.a_log")])]);

  const stateShape = ["batch", innerSize, stateSize];
  const begin =
    state?.past("scan", stateShape) ??
    graph.node("Expand", [
      graph.constant("float32", 0),
      graph.node("Concat", [graph.node("Shape", [x], { ints: { end: 1 } }), int64(innerSize, stateSize)], {
        ints: { axis: 0 },
      }),
    ]);
  const scaled = graph.node("Mul", [delta, u]);
  const [end, mixed] = graph.nodes("Scan", [begin, delta, scaled, inputMap, outputMap], {
    outputs: 2,
    ints: { num_scan_inputs: 4, scan_input_axes: [1, 1, 1, 1], scan_output_axes: [1] },
    graphs: { body: step(context, spec, decay) },
  });
  state?.present("scan", end, stateShape);

  const skipped = graph.node("Add", [mixed, graph.node("Mul", [u, context.weight("mamba.d")])]);
  const product = graph.node("Mul", [skipped, activate(graph, gate, spec.activation)]);
  const heads = context.tap("attention.heads", product, innerSize);
  return blockLinear(context, heads, "mamba.out");
}

/** [batch, inner, reach] the last real tokens of [batch, inner, reach + sequence]. */
function lastChannels({ graph, sequence }: BlockContext, extended: Value, reach: number): Value {
  const int64 = (...values: number[]) => graph.constant("int64", values);
  if (!sequence.real) {
    return graph.node("Slice", [extended, int64(-reach), int64(Number.MAX_SAFE_INTEGER), int64(2)]);
  }
  const first = graph.node("Unsqueeze", [sequence.real.counts, int64(1, 2)]);
  const columns = graph.node("Add", [first, int64(...Array.from({ length: reach }, (_, i) => i))]);
  const shape = graph.node("Concat", [graph.node("Shape", [extended], { ints: { end: 2 } }), int64(reach)], {
    ints: { axis: 0 },
  });
  return graph.node("GatherElements", [extended, graph.node("Expand", [columns, shape])], {
    ints: { axis: 2 },
  });
}

/** One token: the state [batch, inner, state] and the token's Δ, Δx [batch, inner], B, C [batch, state] to the next state and y [batch, inner]. */
function step({ graph }: BlockContext, { innerSize, stateSize }: MambaSpec, decay: Value) {
  const body = graph.subgraph();
  const memory = body.input("memory", "float32", ["batch", innerSize, stateSize]);
  const delta = body.input("delta", "float32", ["batch", innerSize]);
  const scaled = body.input("scaled", "float32", ["batch", innerSize]);
  const inputMap = body.input("input_map", "float32", ["batch", stateSize]);
  const outputMap = body.input("output_map", "float32", ["batch", stateSize]);
  const column = (value: Value) => body.node("Unsqueeze", [value, body.constant("int64", [2])]);
  const row = (value: Value) => body.node("Unsqueeze", [value, body.constant("int64", [1])]);
  const kept = body.node("Mul", [memory, body.node("Exp", [body.node("Mul", [column(delta), decay])])]);
  const next = body.node("Add", [kept, body.node("Mul", [column(scaled), row(inputMap)])]);
  const read = body.node("Squeeze", [
    body.node("MatMul", [next, column(outputMap)]),
    body.constant("int64", [2]),
  ]);
  body.output("next", next, "float32", ["batch", innerSize, stateSize]);
  body.output("read", read, "float32", ["batch", innerSize]);
  return body;
}
