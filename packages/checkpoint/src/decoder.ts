import type { Architecture, AttentionSpec, BlockSpec, MlpSpec, NormSpec } from "@layerfold/core";
import type { BlockTensors, NormShape } from "./block-tensors.js";
import type { ConfigReader } from "./config-reader.js";

/** What stands around the blocks, by tensor and module names. */
export interface DecoderFrame {
  readonly modelType: string;
  readonly hiddenSize: number;
  readonly vocabularySize: number;
  readonly maxPositionEmbeddings: number;
  /** Tensor of the token embedding. */
  readonly tokens: string;
  /** Columns of the token embedding where they are not `hiddenSize`, with the maps into and out of the stream. */
  readonly embedding?: { readonly size: number; readonly into: string; readonly outOf: string };
  readonly embeddingScale?: number | undefined;
  readonly positions?: { readonly weight: string; readonly rows: number; readonly offset: number };
  readonly blocks: readonly BlockSpec[];
  readonly finalNorm?: { readonly module: string; readonly shape: NormShape };
  /** Module of the head; without effect on the weight where it is tied. */
  readonly head: string;
  readonly headBias?: boolean;
  readonly tied: boolean;
  readonly headSoftcap?: number | undefined;
  readonly headScale?: number | undefined;
}

/** The architecture of such a frame, with the shapes of all tensors outside the blocks. */
export function decoder(frame: DecoderFrame): Architecture {
  const { hiddenSize, vocabularySize, tokens, embedding, positions, tied } = frame;
  const width = embedding?.size ?? hiddenSize;
  const globals = new Map<string, readonly number[]>([[tokens, [vocabularySize, width]]]);
  if (positions) globals.set(positions.weight, [positions.rows, hiddenSize]);
  if (embedding) {
    globals.set(embedding.into, [hiddenSize, embedding.size]);
    globals.set(embedding.outOf, [embedding.size, hiddenSize]);
  }
  const finalNorm = frame.finalNorm && namedNorm(frame.finalNorm.module, frame.finalNorm.shape);
  if (finalNorm?.weight) globals.set(finalNorm.weight, [hiddenSize]);
  if (finalNorm?.bias) globals.set(finalNorm.bias, [hiddenSize]);
  const weight = tied ? tokens : `${frame.head}.weight`;
  globals.set(weight, [vocabularySize, width]);
  const bias = frame.headBias ? `${frame.head}.bias` : undefined;
  if (bias) globals.set(bias, [vocabularySize]);
  return {
    modelType: frame.modelType,
    hiddenSize,
    vocabularySize,
    maxPositionEmbeddings: frame.maxPositionEmbeddings,
    embedding: {
      tokens,
      ...(frame.embeddingScale !== undefined && { scale: frame.embeddingScale }),
      ...(embedding && { projection: embedding.into }),
      ...(positions && { positions: { weight: positions.weight, offset: positions.offset } }),
    },
    blocks: frame.blocks,
    ...(finalNorm && { finalNorm }),
    head: {
      weight,
      tied,
      ...(bias && { bias }),
      ...(embedding && { projection: embedding.outOf }),
      ...(frame.headSoftcap !== undefined && { softcap: frame.headSoftcap }),
      ...(frame.headScale !== undefined && { scale: frame.headScale }),
    },
    globals,
  };
}

function namedNorm(
  module: string,
  { kind, epsilon, weightOffset = 0, affine = true, bias }: NormShape,
): NormSpec {
  const spec = { kind, epsilon, weightOffset };
  if (!affine) return spec;
  return { ...spec, weight: `${module}.weight`, ...(bias && { bias: `${module}.bias` }) };
}

/** A block of the tensors collected so far; the type follows from mixer and feed-forward. */
export function blockSpec(
  { tensors, shapes, linearLayout }: BlockTensors,
  rest: Omit<BlockSpec, "type" | "tensors" | "shapes" | "linearLayout">,
): BlockSpec {
  return { type: blockType(rest), tensors, shapes, linearLayout, ...rest };
}

/** What must agree for two blocks to stand for one another. */
function blockType({ mixer, feedForward }: Pick<BlockSpec, "mixer" | "feedForward">): string {
  if (mixer.kind === "mamba") return `mamba+${feedForward.kind}`;
  const reach = mixer.slidingWindow === undefined ? "full_attention" : "sliding_attention";
  return `${reach}+${mixer.rotary ? "rope" : "nope"}+${feedForward.kind}`;
}

/** Heads of an attention layer. */
export type Heads = Pick<AttentionSpec, "headCount" | "keyValueHeadCount" | "headSize">;

/**
 * Reads `num_attention_heads`, `num_key_value_heads` (default: all) and `head_dim` (default hidden_size / heads).
 * @throws CONFIG_INVALID where they do not divide
 */
export function headsOf(c: ConfigReader, defaultHeadSize?: number): Heads {
  const headCount = c.count("num_attention_heads");
  const keyValueHeadCount = c.count("num_key_value_heads", headCount);
  if (headCount % keyValueHeadCount !== 0) {
    throw c.invalid("num_key_value_heads", `a divisor of the ${headCount} attention heads`);
  }
  const headSize = c.count("head_dim", defaultHeadSize ?? c.count("hidden_size") / headCount);
  return { headCount, keyValueHeadCount, headSize };
}

/** Modules of an attention layer's linear maps; one for all of q, k, v where they are fused. */
export interface AttentionModules {
  readonly qkv: string | readonly [query: string, key: string, value: string];
  readonly output: string;
}

/** Adds the linear maps of an attention layer. */
export function addAttention(
  block: BlockTensors,
  hiddenSize: number,
  { headCount, keyValueHeadCount, headSize }: Heads,
  modules: AttentionModules,
  biases: { readonly qkv?: boolean; readonly output?: boolean } = {},
): void {
  const queries = headCount * headSize;
  const keys = keyValueHeadCount * headSize;
  if (typeof modules.qkv === "string") {
    block.linear("attention.qkv", modules.qkv, queries + 2 * keys, hiddenSize, biases.qkv);
  } else {
    const [query, key, value] = modules.qkv;
    block.linear("attention.query", query, queries, hiddenSize, biases.qkv);
    block.linear("attention.key", key, keys, hiddenSize, biases.qkv);
    block.linear("attention.value", value, keys, hiddenSize, biases.qkv);
  }
  block.linear("attention.output", modules.output, hiddenSize, queries, biases.output);
}

/** Adds a plain MLP, down · act(up · x), and returns its spec. */
export function plainMlp(
  block: BlockTensors,
  hiddenSize: number,
  { intermediateSize, activation }: Pick<MlpSpec, "intermediateSize" | "activation">,
  modules: { readonly up: string; readonly down: string },
  bias: boolean,
): MlpSpec {
  block.linear("mlp.up", modules.up, intermediateSize, hiddenSize, bias);
  block.linear("mlp.down", modules.down, hiddenSize, intermediateSize, bias);
  return { kind: "mlp", intermediateSize, activation, form: "plain" };
}

/** Adds a gated MLP, down · (act(gate · x) · up · x), and returns its spec. */
export function gatedMlp(
  block: BlockTensors,
  hiddenSize: number,
  { intermediateSize, activation }: Pick<MlpSpec, "intermediateSize" | "activation">,
  module: string,
  options: { readonly bias?: boolean | undefined; readonly fused?: boolean } = {},
): MlpSpec {
  const { bias, fused = false } = options;
  if (fused) {
    block.linear("mlp.gate_up", `${module}.gate_up_proj`, 2 * intermediateSize, hiddenSize, bias);
  } else {
    block.linear("mlp.gate", `${module}.gate_proj`, intermediateSize, hiddenSize, bias);
    block.linear("mlp.up", `${module}.up_proj`, intermediateSize, hiddenSize, bias);
  }
  block.linear("mlp.down", `${module}.down_proj`, hiddenSize, intermediateSize, bias);
  return { kind: "mlp", intermediateSize, activation, form: fused ? "gated-fused" : "gated" };
}
