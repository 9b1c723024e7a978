import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint, randomTensors, writeCheckpoint } from "@layerfold/checkpoint";
import {
  type BlockView,
  type DType,
  type ModelRunner,
  type RunContext,
  type TokenBatch,
  tensor,
  tokenBatch,
} from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { portableEngine, seededRng } from "@layerfold/linalg";

export const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

export const llama = {
  model_type: "llama",
  hidden_size: 32,
  intermediate_size: 40,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_hidden_layers: 4,
  vocab_size: 50,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  tie_word_embeddings: true,
};

/** Families whose blocks lie in other ways: biases, fused projections, transposed weights, layer norms, scaled updates, parallel halves, one norm for both halves, normed queries. */
export const families: Record<string, Record<string, unknown>> = {
  llama,
  "llama with biases": { ...llama, attention_bias: true, mlp_bias: true },
  qwen2: { ...llama, model_type: "qwen2" },
  phi3: { ...llama, model_type: "phi3", original_max_position_embeddings: 64, tie_word_embeddings: false },
  granite: {
    ...llama,
    model_type: "granite",
    residual_multiplier: 0.5,
    attention_multiplier: 0.25,
    embedding_multiplier: 2,
    logits_scaling: 2,
  },
  gpt2: {
    model_type: "gpt2",
    n_embd: 32,
    n_head: 4,
    n_inner: 40,
    n_layer: 4,
    n_positions: 64,
    vocab_size: 50,
    activation_function: "gelu_new",
    layer_norm_epsilon: 1e-5,
    tie_word_embeddings: true,
  },
  gpt_neox: {
    model_type: "gpt_neox",
    hidden_size: 32,
    intermediate_size: 40,
    num_attention_heads: 4,
    num_hidden_layers: 4,
    vocab_size: 50,
    max_position_embeddings: 64,
    layer_norm_eps: 1e-5,
    hidden_act: "gelu",
    attention_bias: true,
    use_parallel_residual: true,
    rope_parameters: { rope_theta: 10000, rope_type: "default", partial_rotary_factor: 0.25 },
  },
  phi: {
    ...llama,
    model_type: "phi",
    layer_norm_eps: 1e-5,
    hidden_act: "gelu_new",
    partial_rotary_factor: 0.5,
    tie_word_embeddings: false,
  },
  qwen3: { ...llama, model_type: "qwen3", head_dim: 8 },
};

/** Runs a test on an untrained model of that config, in a folder of its own. */
export async function withModel(
  config: Record<string, unknown>,
  use: (checkpoint: Checkpoint, folder: string) => Promise<void>,
  dtype: DType = "float32",
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "layerfold-merge-"));
  try {
    const directory = join(folder, "dense");
    await writeCheckpoint(directory, { config, tensors: randomTensors(config, seededRng(7), dtype) });
    const checkpoint = await openCheckpoint(directory);
    try {
      await use(checkpoint, folder);
    } finally {
      await checkpoint.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A runner whose layer `index` adds nothing to the stream. */
export async function runnerWithIdleLayer(checkpoint: Checkpoint, index: number): Promise<ModelRunner> {
  const runner = await openRunner(checkpoint);
  const block = async (layer: number): Promise<BlockView> => {
    const view = await runner.block(layer);
    return layer === index ? idle(view) : view;
  };
  return {
    ...runner,
    block,
    runBlock: async (layer, input, options) =>
      runner.runBlock(layer, input, { ...options, replace: options?.replace ?? (await block(layer)) }),
  };
}

function idle(view: BlockView): BlockView {
  const silent = /^(attention\.output|mlp\.down)(\.bias)?$/;
  const tensors = [...view.tensors].map(([role, t]) => {
    return [role, silent.test(role) ? tensor(new Float32Array(t.data.length), t.shape) : t] as const;
  });
  return { ...view, tensors: new Map(tensors) };
}

/** Random token rows of unlike lengths. */
export function tokenBatches(count: number, rows: number, length: number): TokenBatch[] {
  const rng = seededRng(3);
  return Array.from({ length: count }, () =>
    tokenBatch(
      Array.from({ length: rows }, (_, r) =>
        Int32Array.from({ length: length - (r % 3) }, () => rng.integer(50)),
      ),
    ),
  );
}

export const opened = (batches: readonly TokenBatch[]) =>
  async function* () {
    yield* batches;
  };
