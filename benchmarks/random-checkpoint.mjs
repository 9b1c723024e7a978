// Random bfloat16 checkpoints of well-known shapes, for measuring memory and time. A million normal draws, again and again from another
// start, so that billions of weights take seconds. The tokenizer is foldling's, so that texts can be read: token ids stay below its 8,192.
import { cpSync, existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const built = (name) => import(new URL(`../packages/${name}/dist/index.js`, import.meta.url));
const foldling = fileURLToPath(new URL("../models/foldling/", import.meta.url));

const llama = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  tie_word_embeddings: false,
  dtype: "bfloat16",
  bos_token_id: 0,
  eos_token_id: 0,
};

export const shapes = {
  "llama-3-8b": {
    ...llama,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    num_hidden_layers: 32,
    vocab_size: 128256,
    rope_theta: 500000,
  },
  "1.17b": {
    ...llama,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    num_hidden_layers: 22,
    vocab_size: 49152,
    rope_theta: 10000,
  },
};

/** Writes a checkpoint of that shape, unless it stands there. */
export async function writeRandom(directory, config) {
  if (existsSync(join(directory, "config.json"))) return;
  const { encodeFloats, elementCount } = await built("core");
  const { architectureOf, writeCheckpoint } = await built("checkpoint");
  const { seededRng } = await built("linalg");
  const rng = seededRng(1);
  const draws = Float32Array.from({ length: 2 ** 20 + 1 }, () => rng.normal() / 64);
  const patterns = [draws, draws.map((x) => 1 + x)].map((values) => encodeFloats(values, "bfloat16"));
  const { globals, blocks } = architectureOf(config);
  const wanted = [
    ...globals,
    ...blocks.flatMap(({ tensors, shapes }) => [...tensors].map(([role, name]) => [name, shapes.get(role)])),
  ];
  const tensors = wanted.map(([name, shape]) => ({
    name,
    dtype: "bfloat16",
    shape,
    bytes: () => {
      const pattern = patterns[shape.length === 1 ? 1 : 0];
      const bytes = new Uint8Array(2 * elementCount(shape));
      for (let at = -2 * rng.integer(draws.length); at < bytes.length; at += pattern.length) {
        const part = pattern.subarray(Math.max(0, -at), Math.min(pattern.length, bytes.length - at));
        bytes.set(part, Math.max(0, at));
      }
      return bytes;
    },
  }));
  await writeCheckpoint(directory, { config, tensors, maxShardBytes: 5e9 });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    cpSync(join(foldling, "checkpoint", name), join(directory, name));
  }
}
