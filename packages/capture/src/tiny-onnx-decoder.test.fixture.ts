import { seededRng } from "@layerfold/linalg";
import { type GraphBuilder, graphBuilder, type Value } from "@layerfold/onnx";

export interface TinyDecoder {
  readonly layers: number;
  readonly hidden: number;
  /** Norms written out in basic operators, or fused with the addition before them as ONNX Runtime GenAI has it. */
  readonly norms: "written-out" | "fused";
  /** x + attention(x), then x + mlp(x); or both in one addition. */
  readonly residual: "sequential" | "parallel";
  /** Take and concatenate key/value caches, as Optimum's `with_past` exports do. */
  readonly past: false | "float32" | "float16";
}

/**
 * An ONNX decoder of random weights with the usual inputs and the output `logits`; with `streams`, the residual streams are outputs
 * too, under the names `stream.0` … .
 */
export function tinyOnnxDecoder(options: TinyDecoder, streams = false): Uint8Array {
  const { layers, hidden, norms, residual, past } = options;
  const rng = seededRng("tiny-decoder");
  const g = graphBuilder();
  const weight = (...shape: number[]): Value =>
    g.constant(
      "float32",
      Float32Array.from({ length: shape[0] * shape[1] }, () => rng.normal() / Math.sqrt(shape[0])),
      shape,
    );
  const ones = g.constant("float32", new Float32Array(hidden).fill(1));
  const linear = (x: Value, width = hidden) =>
    g.node("Add", [
      g.node("MatMul", [x, weight(hidden, width)]),
      g.constant("float32", new Float32Array(width).fill(0.1)),
    ]);

  const ids = g.input("input_ids", "int64", ["batch", "sequence"]);
  const mask = g.input("attention_mask", "int64", ["batch", "total"]);
  const positions = g.input("position_ids", "int64", ["batch", "sequence"]);
  const bias = attentionBias(g, mask);
  const found: Value[] = [];
  const tokens = g.node("Gather", [weight(16, hidden), ids]);
  let stream = g.node("Add", [tokens, g.node("Gather", [weight(32, hidden), positions])], {
    name: "embedded",
  });
  found.push(stream);

  /** The norm of x + update (or of x, first), and the sum. */
  let pending: Value | undefined;
  const addAndNorm = (name: string): { normed: Value; sum: Value } => {
    if (norms === "fused" && pending !== undefined) {
      const inputs = [stream, pending, ones];
      const out = g.nodes("SkipSimplifiedLayerNormalization", inputs, {
        name,
        outputs: 4,
        contrib: true,
        floats: { epsilon: 1e-5 },
      });
      pending = undefined;
      stream = out[3];
      return { normed: out[0], sum: stream };
    }
    if (pending !== undefined) stream = g.node("Add", [stream, pending], { name: `${name}.sum` });
    pending = undefined;
    return { normed: writtenOutNorm(g, stream, ones), sum: stream };
  };
  for (let l = 0; l < layers; l++) {
    const first = addAndNorm(`layer.${l}.input`);
    if (l > 0) found.push(first.sum);
    const attended = attention(
      g,
      first.normed,
      linear,
      bias,
      past ? { layer: l, dtype: past } : undefined,
      hidden,
    );
    if (residual === "parallel") {
      pending = g.node("Add", [attended, g.node("Tanh", [linear(first.normed)])]);
      continue;
    }
    pending = attended;
    const second = addAndNorm(`layer.${l}.middle`);
    pending = linear(g.node("Tanh", [linear(second.normed)]));
  }
  const final = addAndNorm("final");
  found.push(final.sum);
  g.output("logits", g.node("MatMul", [final.normed, weight(hidden, 16)]), "float32", [
    "batch",
    "sequence",
    16,
  ]);
  if (streams) {
    found.forEach((value, i) => {
      g.output(`stream.${i}`, value, "float32", ["batch", "sequence", hidden]);
    });
  }
  return g.build();
}

function writtenOutNorm(g: GraphBuilder, x: Value, weight: Value): Value {
  const square = g.node("Pow", [x, g.constant("float32", 2)]);
  const mean = g.node("ReduceMean", [square, g.constant("int64", [-1])], { ints: { keepdims: 1 } });
  const root = g.node("Sqrt", [g.node("Add", [mean, g.constant("float32", 1e-5)])]);
  return g.node("Mul", [g.node("Div", [x, root]), weight]);
}

/** [batch, 1, sequence, total]: 0 where a token may look, −10⁴ elsewhere; the past is empty here, so total = sequence. */
function attentionBias(g: GraphBuilder, mask: Value): Value {
  const ones = g.node("Expand", [
    g.constant("float32", 1),
    g.node(
      "Concat",
      [
        g.node("Slice", [g.node("Shape", [mask]), g.constant("int64", [1]), g.constant("int64", [2])]),
        g.node("Slice", [g.node("Shape", [mask]), g.constant("int64", [1]), g.constant("int64", [2])]),
      ],
      { ints: { axis: 0 } },
    ),
  ]);
  const past = g.node("Trilu", [ones], { ints: { upper: 0 } });
  const real = g.node("Unsqueeze", [g.cast(mask, "float32"), g.constant("int64", [1, 2])]);
  const allowed = g.node("Mul", [past, real]);
  return g.node("Mul", [g.node("Sub", [allowed, g.constant("float32", 1)]), g.constant("float32", 1e4)]);
}

/** One head; with caches [batch, 1, past, hidden] before its own keys and values. */
function attention(
  g: GraphBuilder,
  x: Value,
  linear: (x: Value) => Value,
  bias: Value,
  cache: { readonly layer: number; readonly dtype: "float32" | "float16" } | undefined,
  hidden: number,
): Value {
  const heads = (value: Value) => g.node("Unsqueeze", [value, g.constant("int64", [1])]);
  const cached = (value: Value, kind: string) => {
    if (cache === undefined) return value;
    const shape = ["batch", 1, "past", hidden];
    const before = g.input(`past_key_values.${cache.layer}.${kind}`, cache.dtype, shape);
    return g.node("Concat", [g.cast(before, "float32"), value], { ints: { axis: 2 } });
  };
  const key = cached(heads(linear(x)), "key");
  const value = cached(heads(linear(x)), "value");
  const scores = g.node("MatMul", [
    heads(linear(x)),
    g.node("Transpose", [key], { ints: { perm: [0, 1, 3, 2] } }),
  ]);
  const weights = g.node("Softmax", [g.node("Add", [scores, bias])], { ints: { axis: -1 } });
  const mixed = g.node("Squeeze", [g.node("MatMul", [weights, value]), g.constant("int64", [1])]);
  return linear(mixed);
}
