import {
  type BlockOutput,
  type BlockSpec,
  type BlockView,
  contiguousData,
  elementCount,
  type Hidden,
  LayerfoldError,
  type ModelRunner,
  type Role,
  type Tap,
  type Tensor,
  type TokenBatch,
  tensor,
} from "@layerfold/core";
import {
  fillWeights,
  type TinyLlamaOptions,
  tensorShapes,
  tinyLlamaConstants,
  tinyLlamaShape,
} from "./tiny-llama.js";

const { ropeTheta, normEpsilon } = tinyLlamaConstants;

export interface TinyLlamaRunnerOptions extends Omit<TinyLlamaOptions, "dtype"> {
  /** What stands at padded positions of every stream and tap: no result may depend on it. Default 0. */
  readonly padding?: number;
}

/**
 * The model that `writeTinyLlama` writes with the same options, in memory and in plain loops: a whole `ModelRunner` with every tap of a block
 * without experts, for tests that want neither files nor a runtime. Sums are taken in float64, results are float32.
 *
 * @throws TINY_LLAMA_SHAPE; LAYERS_OUT_OF_RANGE for a layer that it has not
 *
 * @example
 * ```ts
 * const model = tinyLlama({ layerCount: 2 });
 * const { hidden } = await model.runBlock(0, await model.embed(tokenBatch([[5, 6, 7]])));
 * ```
 */
export function tinyLlama(options: TinyLlamaRunnerOptions = {}): ModelRunner {
  const shape = tinyLlamaShape(options);
  const { layerCount, hiddenSize, vocabularySize } = shape;
  const { padding = 0 } = options;
  const values = new Map<string, Tensor<Float32Array>>();
  for (const [name, size] of tensorShapes(shape)) {
    const data = new Float32Array(elementCount(size));
    fillWeights(name, data, shape);
    values.set(name, tensor(data, size));
  }
  const embedding = contiguousData(values.get("model.embed_tokens.weight")!);
  const projection = contiguousData(values.get(shape.tied ? "model.embed_tokens.weight" : "lm_head.weight")!);
  const finalGain = contiguousData(values.get("model.norm.weight")!);
  const blocks = Array.from({ length: layerCount }, (_, layer): BlockView => {
    const spec = blockSpecOf(layer, shape, values);
    const tensors = new Map([...spec.tensors].map(([role, name]) => [role, values.get(name)!] as const));
    return { layer, type: spec.type, spec, tensors };
  });
  const blockOf = (layer: number): BlockView => {
    const found = blocks[layer];
    if (found) return found;
    throw new LayerfoldError("LAYERS_OUT_OF_RANGE", "the model has no such layer", {
      wanted: `0 to ${layerCount - 1}`,
      got: `${layer}`,
    });
  };

  const logitsOf = (row: Float32Array): Float64Array => {
    const normed = rmsNorm(row, finalGain);
    return linear(normed, projection, undefined, vocabularySize);
  };

  return {
    layerCount,
    hiddenSize,
    vocabularySize,
    async embed({ inputIds, lengths, batchSize, sequenceLength }: TokenBatch) {
      const data = new Float32Array(batchSize * sequenceLength * hiddenSize).fill(padding);
      for (const at of realPositions(lengths, sequenceLength)) {
        const id = inputIds[at];
        data.set(embedding.subarray(id * hiddenSize, (id + 1) * hiddenSize), at * hiddenSize);
      }
      return { states: tensor(data, [batchSize, sequenceLength, hiddenSize]), lengths };
    },
    async runBlock(layer, input, { replace, taps = [] } = {}): Promise<BlockOutput> {
      const own = blockOf(layer);
      return runLlamaBlock(own.spec!, replace ?? own, input, taps, padding);
    },
    async head({ states, lengths }) {
      const [batch, sequence] = states.shape;
      const rows = contiguousData(states);
      const data = new Float32Array(batch * sequence * vocabularySize);
      for (const at of realPositions(lengths, sequence)) {
        data.set(logitsOf(rows.subarray(at * hiddenSize, (at + 1) * hiddenSize)), at * vocabularySize);
      }
      return tensor(data, [batch, sequence, vocabularySize]);
    },
    async logProbabilities(matrix, targets) {
      const rows = contiguousData(matrix);
      return Float32Array.from(targets, (target, i) => {
        const logits = logitsOf(rows.subarray(i * hiddenSize, (i + 1) * hiddenSize));
        const largest = logits.reduce((a, b) => Math.max(a, b));
        const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
        return logits[target] - largest - Math.log(sum);
      });
    },
    block: async (layer) => blockOf(layer),
    async close() {},
  };
}

/** Positions in the row-major batch that hold real tokens. */
function realPositions(lengths: Int32Array, sequence: number): number[] {
  return Array.from(lengths).flatMap((length, b) => Array.from({ length }, (_, s) => b * sequence + s));
}

const modules: readonly (readonly [role: Role, module: string])[] = [
  ["norm.attention", "input_layernorm"],
  ["attention.query", "self_attn.q_proj"],
  ["attention.key", "self_attn.k_proj"],
  ["attention.value", "self_attn.v_proj"],
  ["attention.output", "self_attn.o_proj"],
  ["norm.mlp", "post_attention_layernorm"],
  ["mlp.gate", "mlp.gate_proj"],
  ["mlp.up", "mlp.up_proj"],
  ["mlp.down", "mlp.down_proj"],
];

function blockSpecOf(
  layer: number,
  shape: Required<TinyLlamaOptions>,
  values: ReadonlyMap<string, Tensor>,
): BlockSpec {
  const { headCount, keyValueHeadCount, headSize, intermediateSize } = shape;
  const tensors = new Map<Role, string>();
  for (const [role, module] of modules) {
    for (const [suffix, part] of [
      ["", "weight"],
      [".bias", "bias"],
    ]) {
      const name = `model.layers.${layer}.${module}.${part}`;
      if (values.has(name)) tensors.set(`${role}${suffix}`, name);
    }
  }
  const norm = (weight: Role) => ({
    kind: "rms" as const,
    epsilon: normEpsilon,
    weightOffset: 0,
    weight,
  });
  return {
    type: "full_attention+rope+mlp",
    tensors,
    shapes: new Map([...tensors].map(([role, name]) => [role, values.get(name)!.shape])),
    linearLayout: "out-in",
    residual: "sequential",
    mixer: {
      kind: "attention",
      headCount,
      keyValueHeadCount,
      headSize,
      scale: headSize ** -0.5,
      rotary: {
        inverseFrequencies: Float64Array.from(
          { length: headSize / 2 },
          (_, i) => ropeTheta ** ((-2 * i) / headSize),
        ),
        rotaryDimension: headSize,
        interleaved: false,
        attentionFactor: 1,
      },
      projection: "separate",
    },
    mixerNorm: norm("norm.attention"),
    feedForward: { kind: "mlp", intermediateSize, activation: "silu", form: "gated" },
    feedForwardNorm: norm("norm.mlp"),
  };
}

/** x / √(mean x² + ε) · gain */
function rmsNorm(row: Float32Array, gain: Float32Array): Float64Array {
  let square = 0;
  for (const x of row) square += x * x;
  const factor = 1 / Math.sqrt(square / row.length + normEpsilon);
  return Float64Array.from(row, (x, i) => x * factor * gain[i]);
}

/** W·x + b, W [outputs, inputs] row-major. */
function linear(
  x: Float64Array,
  weight: Float32Array,
  bias: Float32Array | undefined,
  outputs: number,
): Float64Array {
  const inputs = weight.length / outputs;
  return Float64Array.from({ length: outputs }, (_, o) => {
    let sum = bias?.[o] ?? 0;
    for (let i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x[i];
    return sum;
  });
}

/** Turns the pairs (i, i + size/2) of every head by position · θ^(−2i/size), in place. */
function rotate(heads: Float64Array, headSize: number, frequencies: Float64Array, position: number): void {
  const half = headSize / 2;
  for (let start = 0; start < heads.length; start += headSize) {
    for (let i = 0; i < half; i++) {
      const [cos, sin] = [Math.cos(position * frequencies[i]), Math.sin(position * frequencies[i])];
      const [a, b] = [heads[start + i], heads[start + i + half]];
      heads[start + i] = a * cos - b * sin;
      heads[start + i + half] = b * cos + a * sin;
    }
  }
}

function runLlamaBlock(
  spec: BlockSpec,
  block: BlockView,
  { states, lengths }: Hidden,
  taps: readonly Tap[],
  padding: number,
): BlockOutput {
  const [batch, sequence, hidden] = states.shape;
  const stream = contiguousData(states);
  const { mixer } = spec;
  if (mixer.kind !== "attention") throw new Error("a tiny Llama has attention");
  const { headSize, headCount, keyValueHeadCount, scale, rotary } = mixer;
  const weights = new Map(
    [...block.tensors].map(([role, value]) => [role, Float32Array.from(contiguousData(value))] as const),
  );
  const project = (role: Role, x: Float64Array) => {
    const weight = weights.get(role);
    if (!weight)
      throw new LayerfoldError("TENSOR_MISSING", `the block has no ${role}`, {
        where: `layer ${block.layer}`,
      });
    return linear(x, weight, weights.get(`${role}.bias`), block.tensors.get(role)!.shape[0]);
  };
  const [attentionGain, mlpGain] = [weights.get("norm.attention")!, weights.get("norm.mlp")!];
  const neurons = block.tensors.get("mlp.up")!.shape[0];
  const widths: Readonly<Record<string, number>> = {
    "attention.input": hidden,
    "attention.heads": headCount * headSize,
    "attention.update": hidden,
    "residual.mid": hidden,
    "mlp.input": hidden,
    "mlp.hidden": neurons,
    "mlp.update": hidden,
  };
  const made = new Map<Tap | "out", Float32Array>([["out", new Float32Array(stream.length).fill(padding)]]);
  for (const tap of taps) {
    const width = widths[tap];
    if (!width) throw new LayerfoldError("TAP_UNKNOWN", "a tiny Llama has no such tap", { got: tap });
    made.set(tap, new Float32Array(batch * sequence * width).fill(padding));
  }
  const put = (tap: Tap | "out", at: number, row: ArrayLike<number>) =>
    made.get(tap)?.set(row, at * row.length);
  const shared = headCount / keyValueHeadCount;
  for (let b = 0; b < batch; b++) {
    const keys: Float64Array[] = [];
    const heads: Float64Array[] = [];
    for (let s = 0; s < lengths[b]; s++) {
      const at = b * sequence + s;
      const row = stream.subarray(at * hidden, (at + 1) * hidden);
      const read = rmsNorm(row, attentionGain);
      put("attention.input", at, read);
      const query = project("attention.query", read);
      const key = project("attention.key", read);
      rotate(query, headSize, rotary!.inverseFrequencies, s);
      rotate(key, headSize, rotary!.inverseFrequencies, s);
      keys.push(key);
      heads.push(project("attention.value", read));
      const mixed = attend(query, keys, heads, { headSize, headCount, shared, scale });
      put("attention.heads", at, mixed);
      const update = project("attention.output", mixed);
      put("attention.update", at, update);
      const mid = Float32Array.from(row, (x, i) => x + update[i]);
      put("residual.mid", at, mid);
      const inner = rmsNorm(mid, mlpGain);
      put("mlp.input", at, inner);
      const [gate, up] = [project("mlp.gate", inner), project("mlp.up", inner)];
      const hiddenRow = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      put("mlp.hidden", at, hiddenRow);
      const added = project("mlp.down", hiddenRow);
      put("mlp.update", at, added);
      put(
        "out",
        at,
        mid.map((x, i) => x + added[i]),
      );
    }
  }
  return {
    hidden: { states: tensor(made.get("out")!, states.shape), lengths },
    taps: new Map(taps.map((tap) => [tap, tensor(made.get(tap)!, [batch, sequence, widths[tap]])])),
  };
}

/** What the heads of the last position read from all positions up to it: softmax(q·k · scale) · v, head by head. */
function attend(
  query: Float64Array,
  keys: readonly Float64Array[],
  values: readonly Float64Array[],
  {
    headSize,
    headCount,
    shared,
    scale,
  }: {
    readonly headSize: number;
    readonly headCount: number;
    readonly shared: number;
    readonly scale: number;
  },
): Float64Array {
  const mixed = new Float64Array(headCount * headSize);
  for (let head = 0; head < headCount; head++) {
    const [own, other] = [head * headSize, Math.floor(head / shared) * headSize];
    const scores = keys.map((key) => {
      let product = 0;
      for (let i = 0; i < headSize; i++) product += query[own + i] * key[other + i];
      return product * scale;
    });
    const largest = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - largest));
    const total = shares.reduce((a, b) => a + b);
    shares.forEach((share, t) => {
      for (let i = 0; i < headSize; i++) mixed[own + i] += (share / total) * values[t][other + i];
    });
  }
  return mixed;
}
