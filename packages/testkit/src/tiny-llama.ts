import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesPerElement, elementCount, encodeFloats, LayerfoldError } from "@layerfold/core";
import { testContext } from "./test-context.js";

export interface TinyLlamaOptions {
  readonly layerCount?: number;
  readonly hiddenSize?: number;
  readonly intermediateSize?: number;
  readonly headCount?: number;
  /** Fewer than `headCount` for grouped queries. */
  readonly keyValueHeadCount?: number;
  /** Default hiddenSize / headCount. */
  readonly headSize?: number;
  readonly vocabularySize?: number;
  /** One matrix for embedding and head. */
  readonly tied?: boolean;
  /** Biases on the attention projections. */
  readonly attentionBias?: boolean;
  /** Biases on the MLP projections. */
  readonly mlpBias?: boolean;
  readonly dtype?: "float32" | "bfloat16" | "float16";
  /** Standard deviation of the weights. Default 1/√hiddenSize, so that every block changes the stream. */
  readonly weightScale?: number;
  readonly seed?: number;
}

/**
 * Writes a random checkpoint of the Llama architecture: `config.json` and `model.safetensors`, with the names and the layout that
 * transformers reads. By default 4 layers of width 32; the shape of a real model makes a benchmark, e.g. SmolLM2-135M's
 * `{ layerCount: 30, hiddenSize: 576, intermediateSize: 1536, headCount: 9, keyValueHeadCount: 3, vocabularySize: 49152, tied: true }`.
 *
 * @param directory - made where missing; files in it are replaced
 * @throws TINY_LLAMA_SHAPE when heads do not divide. Streams tensor by tensor: memory of the largest one.
 */
export async function writeTinyLlama(directory: string, options: TinyLlamaOptions = {}): Promise<void> {
  const shape = tinyLlamaShape(options);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "config.json"), `${JSON.stringify(config(shape), undefined, 2)}\n`);
  const tensors = tensorShapes(shape);
  await writeSafetensors(join(directory, "model.safetensors"), tensors, shape.dtype, (name, values) =>
    fillWeights(name, values, shape),
  );
}

/** All options, with their defaults. @throws TINY_LLAMA_SHAPE */
export function tinyLlamaShape(options: TinyLlamaOptions): Required<TinyLlamaOptions> {
  const hiddenSize = options.hiddenSize ?? 32;
  const headCount = options.headCount ?? 4;
  const shape = {
    layerCount: 4,
    hiddenSize,
    intermediateSize: 48,
    headCount,
    keyValueHeadCount: headCount,
    headSize: hiddenSize / headCount,
    vocabularySize: 64,
    tied: false,
    attentionBias: false,
    mlpBias: false,
    dtype: "float32" as const,
    weightScale: 1 / Math.sqrt(hiddenSize),
    seed: 0,
    ...options,
  };
  if (!Number.isInteger(shape.headSize) || shape.headSize % 2 || shape.headCount % shape.keyValueHeadCount) {
    throw new LayerfoldError("TINY_LLAMA_SHAPE", "these heads do not fit", {
      wanted: "an even head size, and headCount a multiple of keyValueHeadCount",
      got: `head size ${shape.headSize}, ${shape.headCount} heads, ${shape.keyValueHeadCount} key/value heads`,
    });
  }
  return shape;
}

function config(shape: Required<TinyLlamaOptions>) {
  return {
    architectures: ["LlamaForCausalLM"],
    attention_bias: shape.attentionBias,
    bos_token_id: 1,
    dtype: shape.dtype,
    eos_token_id: 2,
    head_dim: shape.headSize,
    hidden_act: "silu",
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.intermediateSize,
    max_position_embeddings: 2048,
    mlp_bias: shape.mlpBias,
    model_type: "llama",
    num_attention_heads: shape.headCount,
    num_hidden_layers: shape.layerCount,
    num_key_value_heads: shape.keyValueHeadCount,
    rms_norm_eps: tinyLlamaConstants.normEpsilon,
    rope_theta: tinyLlamaConstants.ropeTheta,
    tie_word_embeddings: shape.tied,
    torch_dtype: shape.dtype,
    vocab_size: shape.vocabularySize,
  };
}

/** The rotary base, and what is added to a norm's mean square. */
export const tinyLlamaConstants = { ropeTheta: 10_000, normEpsilon: 1e-5 };

/** Names and shapes, sorted by name as the reference writer sorts one dtype. */
export function tensorShapes(shape: Required<TinyLlamaOptions>): [name: string, shape: number[]][] {
  const { hiddenSize, intermediateSize, vocabularySize } = shape;
  const queries = shape.headCount * shape.headSize;
  const keys = shape.keyValueHeadCount * shape.headSize;
  const tensors: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocabularySize, hiddenSize]],
    ["model.norm.weight", [hiddenSize]],
  ];
  if (!shape.tied) tensors.push(["lm_head.weight", [vocabularySize, hiddenSize]]);
  for (let l = 0; l < shape.layerCount; l++) {
    const block = `model.layers.${l}`;
    const linear = (name: string, out: number, input: number, bias: boolean) => {
      tensors.push([`${block}.${name}.weight`, [out, input]]);
      if (bias) tensors.push([`${block}.${name}.bias`, [out]]);
    };
    tensors.push([`${block}.input_layernorm.weight`, [hiddenSize]]);
    tensors.push([`${block}.post_attention_layernorm.weight`, [hiddenSize]]);
    linear("self_attn.q_proj", queries, hiddenSize, shape.attentionBias);
    linear("self_attn.k_proj", keys, hiddenSize, shape.attentionBias);
    linear("self_attn.v_proj", keys, hiddenSize, shape.attentionBias);
    linear("self_attn.o_proj", hiddenSize, queries, shape.attentionBias);
    linear("mlp.gate_proj", intermediateSize, hiddenSize, shape.mlpBias);
    linear("mlp.up_proj", intermediateSize, hiddenSize, shape.mlpBias);
    linear("mlp.down_proj", hiddenSize, intermediateSize, shape.mlpBias);
  }
  return tensors.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Uniform numbers of the wanted spread, around 1 for norms and 0 for the rest, from a stream of the tensor's own. */
export function fillWeights(
  name: string,
  values: Float32Array,
  { weightScale, seed }: Pick<Required<TinyLlamaOptions>, "weightScale" | "seed">,
): void {
  const rng = testContext(seed).rng.fork(name);
  const center = name.includes("norm") ? 1 : 0;
  const width = weightScale * Math.sqrt(12);
  for (let at = 0; at < values.length; at++) values[at] = center + width * (rng.uniform() - 0.5);
}

const safetensorsNames = { float32: "F32", bfloat16: "BF16", float16: "F16" } as const;

/** Tensors of one dtype, in the order given, one at a time. */
async function writeSafetensors(
  path: string,
  tensors: readonly [name: string, shape: number[]][],
  dtype: keyof typeof safetensorsNames,
  fill: (name: string, values: Float32Array) => void,
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const [name, shape] of tensors) {
    const begin = end;
    end += elementCount(shape) * bytesPerElement(dtype);
    header[name] = { dtype: safetensorsNames[dtype], shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  // Padded with spaces, so that the data starts 8-aligned.
  const text = Buffer.alloc(Math.ceil(json.length / 8) * 8, " ");
  json.copy(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = await open(path, "w");
  try {
    await file.writeFile(length);
    await file.writeFile(text);
    for (const [name, shape] of tensors) {
      const values = new Float32Array(elementCount(shape));
      fill(name, values);
      await file.writeFile(encodeFloats(values, dtype));
    }
  } finally {
    await file.close();
  }
}
