import type { Role } from "./model-runner.js";

/** A normalisation: its formula, and the roles (in a block) or tensor names (outside) of its parameters. */
export interface NormSpec {
  /** `rms`: x / rms(x) · (weight + weightOffset). `layer`: (x − mean) / std · weight + bias. */
  readonly kind: "rms" | "layer";
  readonly epsilon: number;
  /** Added to the stored weight before use: 1 in Gemma, else 0. */
  readonly weightOffset: number;
  /** Absent where the norm has no learned gain. */
  readonly weight?: string;
  readonly bias?: string;
}

/** Rotary position embedding, resolved from whatever the config says (default, linear, llama3, yarn, longrope, …). */
export interface RotarySpec {
  /** [rotaryDimension / 2] radians per position. */
  readonly inverseFrequencies: Float64Array;
  /**
   * The frequencies for a whole sequence of that many positions, where they depend on it (dynamic, longrope). Up to the model's
   * original length they are `inverseFrequencies`.
   */
  readonly inverseFrequenciesFor?: (sequenceLength: number) => Float64Array;
  /** Leading dimensions of a head that are rotated, even. */
  readonly rotaryDimension: number;
  /** Pairs are (i, i + rotaryDimension/2) when false, (2i, 2i + 1) when true. */
  readonly interleaved: boolean;
  /** Multiplies cos and sin (yarn, longrope); 1 otherwise. */
  readonly attentionFactor: number;
  /** What it was resolved from, for whoever writes it in another form: `rope_type`, `rope_theta` and the type's own, as config.json names them. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

export interface AttentionSpec {
  readonly kind: "attention";
  readonly headCount: number;
  readonly keyValueHeadCount: number;
  readonly headSize: number;
  /** Multiplies query·key. */
  readonly scale: number;
  /** s·tanh(score/s) where present. */
  readonly softcap?: number;
  /** Attend to the last so many positions, oneself included. */
  readonly slidingWindow?: number;
  readonly rotary?: RotarySpec;
  /**
   * How q, k, v lie: `separate` = attention.query|key|value; `fused` = attention.qkv with all q, all k, all v one after another;
   * `fused-per-head` = attention.qkv, for each key/value head its queries, its key, its value (GPT-NeoX, Falcon).
   */
  readonly projection: "separate" | "fused" | "fused-per-head";
  /** Norm on q and k: over each head's headSize, or over the whole projection. */
  readonly queryKeyNorm?: {
    readonly over: "head" | "projection";
    readonly query: NormSpec;
    readonly key: NormSpec;
  };
}

export type Activation = "silu" | "gelu" | "gelu_tanh" | "relu" | "quick_gelu" | "relu_squared";

export interface MlpSpec {
  readonly kind: "mlp";
  readonly intermediateSize: number;
  readonly activation: Activation;
  /** `gated` = act(gate x) · up x with mlp.gate, mlp.up; `gated-fused` = mlp.gate_up, gate rows first; `plain` = act(up x). */
  readonly form: "gated" | "gated-fused" | "plain";
}

export interface MoeSpec {
  readonly kind: "moe";
  readonly expertCount: number;
  readonly expertsPerToken: number;
  readonly intermediateSize: number;
  readonly activation: Activation;
  /** Whether the chosen experts' softmax weights are divided by their sum. */
  readonly normalizeWeights: boolean;
}

/**
 * A selective state space layer (Mamba, arXiv 2312.00752). Roles: `mamba.in` [2·inner, hidden], `mamba.conv` [inner, 1, kernel] with bias,
 * `mamba.x` [rank + 2·state, inner], `mamba.dt` [inner, rank] with bias, `mamba.a_log` [inner, state], `mamba.d` [inner],
 * `mamba.out` [hidden, inner], and the three norms.
 */
export interface MambaSpec {
  readonly kind: "mamba";
  readonly stateSize: number;
  readonly convolutionSize: number;
  readonly innerSize: number;
  readonly timeStepRank: number;
  readonly activation: Activation;
  /** RMS norms on time step, B and C (`mamba.dt_norm`, `mamba.b_norm`, `mamba.c_norm`). */
  readonly epsilon: number;
}

/** One decoder block, as data. */
export interface BlockSpec {
  /**
   * What must agree for two blocks to stand for one another, beside shapes: attention kind, rope use, experts, layout
   * (e.g. "full_attention+rope+mlp").
   */
  readonly type: string;
  /** Tensor name in the checkpoint for every role that this block has, biases as `ROLE.bias`. */
  readonly tensors: ReadonlyMap<Role, string>;
  /** Shape that the config asks of each role, as stored. */
  readonly shapes: ReadonlyMap<Role, readonly number[]>;
  /** Layout of linear weights: PyTorch Linear, or GPT-2's Conv1D. */
  readonly linearLayout: "out-in" | "in-out";
  /**
   * `sequential`: x += mixer(n1 x); x += mlp(n2 x). `parallel`: x += mixer(n1 x) + mlp(n2 x); n2 absent means that it reads n1 x.
   */
  readonly residual: "sequential" | "parallel";
  /** Multiplies each update before it is added (Granite); default 1. */
  readonly residualScale?: number;
  readonly mixer: AttentionSpec | MambaSpec;
  /** Norm before the mixer; absent in post-norm families. Norm parameters are given as roles. */
  readonly mixerNorm?: NormSpec;
  /** Norm on the mixer's output, before it is added. */
  readonly mixerPostNorm?: NormSpec;
  /** Norm on the stream after the mixer's update was added (the original transformer's order; OPT-350m). */
  readonly mixerSumNorm?: NormSpec;
  readonly feedForward: MlpSpec | MoeSpec;
  readonly feedForwardNorm?: NormSpec;
  readonly feedForwardPostNorm?: NormSpec;
  readonly feedForwardSumNorm?: NormSpec;
}

/** A decoder, as data: everything that graph building, folding and writing need to know of a family. */
export interface Architecture {
  /** `model_type` of config.json. */
  readonly modelType: string;
  readonly hiddenSize: number;
  readonly vocabularySize: number;
  readonly maxPositionEmbeddings: number;
  readonly embedding: {
    /** Tensor name, [vocabulary, hidden]. */
    readonly tokens: string;
    /** Multiplies the looked-up row. */
    readonly scale?: number;
    /** [hidden, embedding] map from the embedding's width to the stream's, where they differ. The tokens are then [vocabulary, embedding]. */
    readonly projection?: string;
    /** Learned positions: row `position + offset` of the named tensor is added. */
    readonly positions?: { readonly weight: string; readonly offset: number };
  };
  readonly blocks: readonly BlockSpec[];
  /** Parameters by tensor name. */
  readonly finalNorm?: NormSpec;
  readonly head: {
    /** Tensor name, [vocabulary, hidden]; the embedding's own name when tied. */
    readonly weight: string;
    readonly bias?: string;
    /** [embedding, hidden] map that is applied before `weight`, where their widths differ. */
    readonly projection?: string;
    readonly tied: boolean;
    readonly softcap?: number;
    /** Multiplies the logits. */
    readonly scale?: number;
  };
  /** Every tensor outside the blocks that the architecture uses, with the shape that the config asks for. */
  readonly globals: ReadonlyMap<string, readonly number[]>;
}
