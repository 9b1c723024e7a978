/**
 * Perplexity and Kullback-Leibler divergence (nats per token) of a quantised checkpoint against the dense one, per
 * scheme, each re-opened from the files that were written. The weights are run as the files' readers dequantise them, in float32;
 * w8a8 rounds activations too, fp8 is weight-only here.
 *
 * npx jiti packages/quantize/bench/quality.ts [MODEL VALIDATION CALIBRATION [scheme ...]]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  batchBySize,
  openCheckpoint,
  openTokenizer,
  readDocuments,
  tokenWindows,
} from "@layerfold/checkpoint";
import type { RunContext } from "@layerfold/core";
import { klToDense, perplexity } from "@layerfold/evaluate";
import { openRunner, runnerLanguageModel } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { dequantizedCheckpoint, quantizeCheckpoint, schemeOf } from "@layerfold/quantize";

const foldling = fileURLToPath(new URL("../../../models/foldling/", import.meta.url));
const [
  model = join(foldling, "checkpoint"),
  validation = join(foldling, "data/validation.jsonl"),
  calibration = join(foldling, "data/calibration.jsonl"),
  ...named
] = process.argv.slice(2);
const methods = ["rtn", "awq", "gptq", "gptq-awq"];
const schemes =
  named.length > 0
    ? named
    : [
        ...[4, 3].flatMap((bits) =>
          [128, 32].flatMap((group) => methods.map((method) => `${method}-w${bits}g${group}-sym`)),
        ),
        "rtn-w8a8",
        "smoothquant-w8a8",
        "fp8",
      ];

const threads = process.env.THREADS ? { threads: Number(process.env.THREADS) } : {};
const ctx: RunContext = {
  rng: seededRng(1),
  engine: onnxEngine(threads),
  report: (event) => event.type === "diagnostic" && console.error(`${event.code}: ${event.message}`),
};
const tokenizer = await openTokenizer(model);
const windowsOf = async (file: string, maxTokens: number) =>
  (await tokenWindows(await readDocuments(file), tokenizer, { window: 512, maxTokens })).sequences;
const [scored, seen] = [await windowsOf(validation, 65536), await windowsOf(calibration, 6144)];
const batches = batchBySize(
  seen.map(({ ids }) => ids),
  4096,
);

const checkpoint = await openCheckpoint(model);
const runner = await openRunner(checkpoint, threads);
const original = runnerLanguageModel(runner);
const dense = (await perplexity(original, scored, {}, ctx)).perplexity;
console.log(
  `dense ${dense.toFixed(4)}, calibration ${seen.reduce((sum, { ids }) => sum + ids.length, 0)} tokens`,
);
console.log(
  "| scheme | perplexity | ÷ dense | KL to dense | bytes of the tensors | seconds |\n|---|---|---|---|---|---|",
);
for (const name of schemes) {
  const folder = await mkdtemp(join(tmpdir(), "layerfold-quality-"));
  try {
    const scheme = schemeOf(name, {
      dtype: checkpoint.dtype,
      ...(name.includes("a8") || name === "fp8" ? {} : { format: "compressed-tensors" }),
    });
    const start = performance.now();
    const { written } = await quantizeCheckpoint(
      checkpoint,
      runner,
      join(folder, "out"),
      {
        scheme,
        calibration: async function* () {
          for (const { batch } of batches) yield batch;
        },
      },
      ctx,
    );
    const seconds = (performance.now() - start) / 1000;
    const quantized = await openCheckpoint(written.directory);
    const reader = await openRunner(dequantizedCheckpoint(quantized), {
      ...threads,
      ...(name.endsWith("w8a8") && { activationBits: 8 }),
    });
    const language = runnerLanguageModel(reader);
    const value = (await perplexity(language, scored, {}, ctx)).perplexity;
    const divergence = (await klToDense(original, language, scored, {}, ctx)).klToDense;
    console.log(
      `| ${name} | ${value.toFixed(4)} | ${(value / dense).toFixed(4)} | ${divergence.toExponential(2)} | ${written.tensorBytes} | ${seconds.toFixed(1)} |`,
    );
    await reader.close();
    await quantized.close();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
await runner.close();
await checkpoint.close();
