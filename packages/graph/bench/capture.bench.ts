// npx vitest bench --run packages/graph/bench/capture.bench.ts
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { architectureOf, openCheckpoint, writeCheckpoint } from "@layerfold/checkpoint";
import { elementCount, encodeFloats, firstOf, type TokenBatch, tensor } from "@layerfold/core";
import { onnxEngine } from "@layerfold/onnx";
import { afterAll, bench } from "vitest";
import { openDecoder } from "../src/index.js";

// The shape of SmolLM2-135M, with random weights.
const config = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  dtype: "bfloat16",
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49152,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  hidden_act: "silu",
  tie_word_embeddings: true,
};
const window = 512;
const windows = 4;

const folder = await mkdtemp(join(tmpdir(), "layerfold-bench-"));
const architecture = architectureOf(config);
const names = new Map(architecture.globals);
for (const { tensors, shapes } of architecture.blocks) {
  for (const [role, name] of tensors) names.set(name, shapes.get(role)!);
}
await writeCheckpoint(join(folder, "model"), {
  config,
  tensors: Array.from(names, ([name, shape]) => ({
    name,
    dtype: "bfloat16" as const,
    shape,
    bytes: () =>
      encodeFloats(
        Float32Array.from({ length: elementCount(shape) }, (_, i) =>
          shape.length === 1 ? 1 : 0.03 * Math.sin(i * i),
        ),
        "bfloat16",
      ),
  })),
});
const checkpoint = await openCheckpoint(join(folder, "model"));
const opening = performance.now();
const decoder = await openDecoder(checkpoint);
console.log(`opened in ${(performance.now() - opening).toFixed(0)} ms`);

const batch: TokenBatch = {
  batchSize: windows,
  sequenceLength: window,
  inputIds: Int32Array.from({ length: windows * window }, (_, i) => (i * 7919) % config.vocab_size),
  lengths: new Int32Array(windows).fill(window),
};
let linear = 0;
for (const { shapes } of architecture.blocks) {
  for (const shape of shapes.values()) if (shape.length === 2) linear += 2 * elementCount(shape);
}
// Scores and their sum over values, each token with those before it only.
const attention = (30 * 4 * config.hidden_size * (window + 1)) / 2;
const operations = windows * window * (linear + attention);

// The ceiling: one matrix product of the size of the model's own, at its best.
const engine = onnxEngine();
const a = tensor(new Float32Array(2048 * 1536).fill(0.5), [2048, 1536]);
const b = tensor(new Float32Array(1536 * 1536).fill(0.5), [1536, 1536]);
const best = { gemm: Number.POSITIVE_INFINITY, capture: Number.POSITIVE_INFINITY };

// Both in turns, so that whatever else the machine does meets both.
bench(
  `${windows} windows of ${window} tokens, all 31 residual streams; and matrix products 2048 × 1536 × 1536`,
  async () => {
    for (let i = 0; i < 5; i++) {
      const start = performance.now();
      await engine.matmul(a, b, { transposeB: true });
      best.gemm = Math.min(best.gemm, (performance.now() - start) / 1000);
    }
    const start = performance.now();
    await firstOf(decoder.capture([batch], {}));
    best.capture = Math.min(best.capture, (performance.now() - start) / 1000);
  },
  { iterations: 5, time: 0, warmupIterations: 1, warmupTime: 0 },
);

afterAll(async () => {
  await decoder.close();
  await engine.close();
  await checkpoint.close();
  await rm(folder, { recursive: true });
  const ceiling = (2 * 2048 * 1536 * 1536) / best.gemm;
  const reached = operations / best.capture;
  console.log(
    `${((windows * window) / best.capture).toFixed(0)} tokens/s; ${(reached / 1e9).toFixed(0)} of ` +
      `${(ceiling / 1e9).toFixed(0)} GFLOP/s = ${((100 * reached) / ceiling).toFixed(0)} % of the ceiling`,
  );
});
