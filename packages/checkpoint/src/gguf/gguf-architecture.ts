import type { BlockSpec, Role } from "@layerfold/core";
import type { ModelConfig } from "../family.js";

/** A field of config.json that is an entry of a GGUF file's metadata. */
export interface GgufField {
  /** The entry, after the architecture's name and a dot. */
  readonly key: string;
  /** `count`: a whole number ≥ 1. `window`: a count, where 0 or no entry is a null in the config. */
  readonly kind: "count" | "number" | "boolean" | "window";
  /** What llama.cpp takes where there is no entry; without this, the entry must be there. Undefined leaves the field out. */
  readonly absent?: ((config: ModelConfig) => unknown) | undefined;
}

/** What a file tells beside the entries that `GgufArchitecture.fields` names. */
export interface GgufFacts {
  /** Fields read so far. */
  readonly config: ModelConfig;
  /** Whether the file has a tensor of that name. */
  has(tensor: string): boolean;
  /** An entry after the architecture's name; undefined where it is absent. */
  entry(key: string): unknown;
}

/** One architecture of llama.cpp, as data: what its metadata and tensors are called in transformers, in either direction. */
export interface GgufArchitecture {
  /** `general.architecture`. */
  readonly name: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** The class in transformers. */
  readonly className: string;
  /** Set where it is the form with experts of a name that has one without as well. */
  readonly experts?: boolean;
  readonly fields: Readonly<Record<string, GgufField>>;
  /** Fields that llama.cpp takes for granted. */
  readonly constants?: ModelConfig;
  /** Fields that are true where block 0 has the tensor, e.g. `attn_q.bias`. */
  readonly presence?: Readonly<Record<string, string>>;
  /** Fields that follow from several things; `derivedFrom` names the entries among them. */
  readonly derived?: (facts: GgufFacts) => ModelConfig;
  readonly derivedFrom?: readonly string[];
  /**
   * `interleaved`: q and k are stored with rotary pairs side by side, where transformers has the halves of a head. `halves`: as in
   * transformers. Absent: no rotary embedding.
   */
  readonly rotary?: "interleaved" | "halves";
  /** Field that says which share of a head the rotary embedding covers; absent where it is always all of it. */
  readonly rotaryShare?: string;
  /** Set where llama.cpp applies the divisors of a tensor to the rotary frequencies, as Llama 3.1's scaling and LongRoPE need it. */
  readonly ropeFactors?: boolean;
  /** Set where llama.cpp reads the window and attends to everything all the same. */
  readonly windowIgnored?: boolean;
  /** Entries that say nothing of the computation and that llama.cpp's converter writes nevertheless. */
  readonly remarks?: Readonly<Record<string, string>>;
  /** Where a block's roles are kept under `blk.N.`, as far as it is not as in `tensor-names.ts`. */
  readonly parts?: (block: Pick<BlockSpec, "tensors">) => Readonly<Partial<Record<Role, string>>>;
}

type Absent = GgufField["absent"];

export const count = (key: string, absent?: Absent): GgufField => ({ key, kind: "count", absent });
export const number = (key: string, absent?: Absent): GgufField => ({ key, kind: "number", absent });
export const boolean = (key: string, absent?: Absent): GgufField => ({ key, kind: "boolean", absent });
export const window = (key: string): GgufField => ({ key, kind: "window", absent: () => null });

/** Fields that nearly every architecture has. */
export const sizes = {
  hidden_size: count("embedding_length"),
  intermediate_size: count("feed_forward_length"),
  num_hidden_layers: count("block_count"),
  num_attention_heads: count("attention.head_count"),
  num_key_value_heads: count("attention.head_count_kv", (c) => c.num_attention_heads),
  max_position_embeddings: count("context_length"),
} satisfies Record<string, GgufField>;

export const headSize = {
  head_dim: count("attention.key_length", (c) => Number(c.hidden_size) / Number(c.num_attention_heads)),
};
export const rmsEpsilon = { rms_norm_eps: number("attention.layer_norm_rms_epsilon") };
export const rotaryBase = { rope_theta: number("rope.freq_base", () => 10_000) };
