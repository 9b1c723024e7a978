import {
  type BlockOutput,
  type BlockSpec,
  type BlockView,
  contiguousData,
  type Hidden,
  type LayerFacts,
  LayerfoldError,
  type Matrix,
  type MlpSpec,
  type MoeSpec,
  type Role,
  type Tap,
  type Tensor,
  tensor,
} from "@layerfold/core";
import {
  firstReason,
  plainNorm,
  selectRows,
  specOf,
  stackRows,
  storedWeight,
  transposed,
  vectorOf,
  weightOf,
  whyNormStays,
  withoutNorm,
  withTensors,
} from "./block-linear.js";

/** The neurons of an MLP behind a norm of gain 1. Row i of every field belongs to neuron i. */
export interface Neurons {
  /** [neurons, hidden] of gated MLPs. */
  readonly gate?: Matrix<Float32Array> | undefined;
  readonly gateBias?: Float32Array | undefined;
  /** [neurons, hidden] */
  readonly up: Matrix<Float32Array>;
  readonly upBias?: Float32Array | undefined;
  /** [neurons, hidden]: what each neuron adds to the stream, the down projection transposed. */
  readonly down: Matrix<Float32Array>;
}

/** Why a block's down projections cannot be refitted; undefined where they write straight to the stream. */
export function whyDownStays({ feedForwardPostNorm, feedForwardSumNorm }: BlockSpec): string | undefined {
  if (!feedForwardPostNorm && !feedForwardSumNorm) return undefined;
  return mlpStays("a norm stands between its down projection and the stream");
}

/** The same of a block's only MLP. */
export function whyMlpStays(spec: BlockSpec): string | undefined {
  const experts =
    spec.feedForward.kind === "moe" ? mlpStays("its experts are chosen token by token") : undefined;
  return whyDownStays(spec) ?? experts;
}

/** Why neurons of a block cannot stand behind a norm of gain 1. */
export function whyNeuronsStay(layer: LayerFacts): string | undefined {
  const { feedForward, feedForwardNorm, mixerNorm } = layer.spec;
  const stays = whyMlpStays(layer.spec);
  if (stays !== undefined || feedForward.kind === "moe") return stays;
  const roles = feedForward.form === "gated-fused" ? ["mlp.gate_up"] : ["mlp.up", "mlp.gate"];
  return whyNormStays(layer, roles, feedForwardNorm ?? mixerNorm);
}

/** Why the MLP of a block that stands for several layers cannot be refitted; blocks that stand for themselves are left alone. */
export function whyMergedMlpStays(layers: readonly LayerFacts[]): string | undefined {
  return layers.length > 1 ? firstReason(layers, ({ spec }) => whyMlpStays(spec)) : undefined;
}

function mlpStays(reason: string): string {
  return `the block's MLP cannot be refitted so: ${reason}`;
}

/**
 * The block's feed-forward part, where linear down projections write straight to the stream.
 * @throws REPAIR_UNSUPPORTED for families that normalise what it adds
 */
export function feedForwardOf(block: BlockView): MlpSpec | MoeSpec {
  const spec = specOf(block);
  refuseFor(block, whyDownStays(spec));
  return spec.feedForward;
}

/** The same, where it is no mixture of experts. @throws REPAIR_UNSUPPORTED */
export function mlpOf(block: BlockView): MlpSpec {
  const spec = specOf(block);
  refuseFor(block, whyMlpStays(spec));
  return spec.feedForward as MlpSpec;
}

function refuseFor(block: BlockView, reason: string | undefined): void {
  if (reason === undefined) return;
  throw new LayerfoldError("REPAIR_UNSUPPORTED", reason, { where: `layer ${block.layer} (${block.type})` });
}

/** Takes an MLP apart, its norm's gain moved into gate and up. @throws REPAIR_UNSUPPORTED, BLOCK_SPEC_MISSING */
export function neuronsOf(block: BlockView): Neurons {
  const spec = specOf(block);
  const { form, intermediateSize } = mlpOf(block);
  const norm = spec.feedForwardNorm ?? spec.mixerNorm;
  const down = rowMajor(transposed(weightOf(block, "mlp.down")));
  if (form !== "gated-fused") {
    const up = withoutNorm(block, "mlp.up", norm);
    const gate = form === "gated" ? withoutNorm(block, "mlp.gate", norm) : undefined;
    return { gate: gate?.weight, gateBias: gate?.bias, up: up.weight, upBias: up.bias, down };
  }
  const both = withoutNorm(block, "mlp.gate_up", norm);
  const gates = Array.from({ length: intermediateSize }, (_, i) => i);
  const ups = gates.map((i) => intermediateSize + i);
  return {
    gate: selectRows(both.weight, gates),
    gateBias: both.bias?.slice(0, intermediateSize),
    up: selectRows(both.weight, ups),
    upBias: both.bias?.slice(intermediateSize),
    down,
  };
}

function rowMajor(matrix: Matrix<Float32Array>): Matrix<Float32Array> {
  return stackRows([matrix]);
}

/** Neurons of several layers, one after another. */
export function joinNeurons(parts: readonly Neurons[]): Neurons {
  const join = (field: "gate" | "up" | "down") =>
    parts[0][field] && stackRows(parts.map((part) => part[field]!));
  const joinBias = (field: "gateBias" | "upBias") =>
    parts[0][field] && Float32Array.from(parts.flatMap((part) => [...part[field]!]));
  return {
    gate: join("gate"),
    gateBias: joinBias("gateBias"),
    up: join("up")!,
    upBias: joinBias("upBias"),
    down: join("down")!,
  };
}

/** Some neurons, in the order given. */
export function selectNeurons(
  { gate, gateBias, up, upBias, down }: Neurons,
  chosen: readonly number[],
): Neurons {
  const pick = (vector: Float32Array | undefined) => vector && Float32Array.from(chosen, (i) => vector[i]);
  return {
    gate: gate && selectRows(gate, chosen),
    gateBias: pick(gateBias),
    up: selectRows(up, chosen),
    upBias: pick(upBias),
    down: selectRows(down, chosen),
  };
}

/** The tensors of an MLP with these neurons behind a norm of gain 1; the number of neurons may differ from the block's. */
export function neuronTensors(
  block: BlockView,
  { gate, gateBias, up, upBias, down }: Neurons,
): [Role, Tensor][] {
  const spec = specOf(block);
  const fused = mlpOf(block).form === "gated-fused";
  const result: [Role, Tensor][] = [
    ...plainNorm(block, spec.feedForwardNorm),
    ["mlp.down", storedWeight(spec, transposed(down))],
  ];
  if (fused) {
    result.push(["mlp.gate_up", storedWeight(spec, stackRows([gate!, up]))]);
    if (upBias) result.push(["mlp.gate_up.bias", tensor(Float32Array.from([...gateBias!, ...upBias]))]);
    return result;
  }
  result.push(["mlp.up", storedWeight(spec, up)]);
  if (upBias) result.push(["mlp.up.bias", tensor(upBias)]);
  if (gate) result.push(["mlp.gate", storedWeight(spec, gate)]);
  if (gateBias) result.push(["mlp.gate.bias", tensor(gateBias)]);
  return result;
}

/** What stands between the down projection's product and the stream: update = scale · (W·hidden + bias). */
export function downOutput(block: BlockView): {
  readonly scale: number;
  readonly bias: Float32Array | undefined;
} {
  const spec: BlockSpec = specOf(block);
  return { scale: spec.residualScale ?? 1, bias: vectorOf(block, "mlp.down.bias") };
}

/** Of a block, all that stands in the stream behind it but its MLP's update: the taps that tell, and what they say. */
export function streamWithoutMlp(block: BlockView): {
  readonly taps: readonly Tap[];
  readonly stream: (input: Hidden, taps: BlockOutput["taps"]) => Tensor<Float32Array>;
} {
  if (specOf(block).residual !== "parallel") {
    return { taps: ["residual.mid"], stream: (_, taps) => taps.get("residual.mid")! };
  }
  return {
    taps: ["attention.update"],
    stream: ({ states }, taps) => {
      const { data, shape } = taps.get("attention.update")!;
      const before = contiguousData(states);
      return tensor(
        data.map((added, i) => before[i] + added),
        shape,
      );
    },
  };
}

/** The block with these neurons, behind a norm of gain 1; their number may differ from the block's, as it then does in the block. */
export function withNeurons(block: BlockView, neurons: Neurons): BlockView {
  return withTensors(block, neuronTensors(block, neurons));
}
