/**
 * The quality table: perplexity of a model, dense and folded, under every method of quantisation, each measured on the files that were
 * written, packed as they are. Methods are compared with rounding to nearest window by window: the mean difference in nats per token,
 * with its 95 % interval.
 *
 * Writes benchmarks/results/quantize.md. Every window's loss is remembered in layerfold-quality.json in the system's folder for temporary
 * files: what stands in it is not measured again, so that a long run can be interrupted.
 *
 * npx jiti packages/quantize/bench/quality.ts NAME MODEL CALIBRATION TEST CALIBRATION_TOKENS TEST_TOKENS GROUPS [SCHEMES]
 * npx jiti packages/quantize/bench/quality.ts foldling models/foldling/checkpoint models/foldling/data/{calibration,validation}.jsonl 6144 65536 128,32
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  batchBySize,
  openCheckpoint,
  openTokenizer,
  readDocuments,
  type TokenSequence,
  tokenWindows,
} from "@layerfold/checkpoint";
import type { LanguageModel, RunContext } from "@layerfold/core";
import { perplexity } from "@layerfold/evaluate";
import { openDecoder, openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { quantizeCheckpoint, quantizedWeights, schemeOf } from "@layerfold/quantize";

interface Row {
  readonly model: string;
  readonly scheme: string;
  readonly tensorBytes: number;
  readonly seconds: number;
  readonly calibrationTokens: number;
  /** Nats and targets of every window. */
  readonly nats: readonly number[];
  readonly targets: readonly number[];
}

const results = fileURLToPath(new URL("../../../benchmarks/results/quantize.md", import.meta.url));
const memory = join(tmpdir(), "layerfold-quality.json");
const [name, model, calibration, test, calibrationTokens, testTokens, groups, chosen] = process.argv.slice(2);
const known: { platform: Record<string, unknown>; rows: Row[] } = JSON.parse(
  await readFile(memory, "utf8").catch(() => '{ "platform": {}, "rows": [] }'),
);
/** Methods as they stand in a table. */
const order = ["rtn", "awq", "gptq", "gptq-awq", "smoothquant"];
const onnx = createRequire(createRequire(import.meta.url).resolve("@layerfold/onnx"));
known.platform = {
  node: process.version,
  onnxruntime: onnx("onnxruntime-node/package.json").version,
  cpu: cpus()[0]?.model,
  cores: cpus().length,
};

if (name) {
  const all = [
    ...[4, 3].flatMap((bits) =>
      groups
        .split(",")
        .flatMap((group) =>
          ["rtn", "awq", "gptq", "gptq-awq"].map((method) => `${method}-w${bits}g${group}-sym`),
        ),
    ),
    "rtn-w8a8",
    "smoothquant-w8a8",
  ];
  const schemes = ["dense", ...(chosen?.split(",") ?? all)];
  const ctx: RunContext = { rng: seededRng(0), engine: onnxEngine() };
  const tokenizer = await openTokenizer(model);
  const scored = tokenWindows(await readDocuments(test), tokenizer, { maxTokens: Number(testTokens) });
  const seen = tokenWindows(await readDocuments(calibration), tokenizer, {
    maxTokens: Number(calibrationTokens),
    spread: true,
  });
  const batches = batchBySize(
    seen.sequences.map(({ ids }) => ids),
    4096,
  );
  const checkpoint = await openCheckpoint(model);
  const runner = await openRunner(checkpoint);
  for (const scheme of schemes) {
    if (known.rows.some((row) => row.model === name && row.scheme === scheme)) continue;
    const folder = await mkdtemp(join(tmpdir(), "layerfold-quality-"));
    try {
      const start = performance.now();
      const written =
        scheme === "dense"
          ? undefined
          : await quantizeCheckpoint(
              checkpoint,
              runner,
              join(folder, "out"),
              {
                scheme: schemeOf(scheme, { dtype: checkpoint.dtype, format: "compressed-tensors" }),
                ...(!scheme.startsWith("rtn") && {
                  calibration: async function* () {
                    for (const { batch } of batches) yield batch;
                  },
                }),
              },
              ctx,
            );
      const seconds = (performance.now() - start) / 1000;
      const opened = await openCheckpoint(written?.written.directory ?? model);
      const decoder = await openDecoder(
        opened,
        written ? { quantizedWeights: await quantizedWeights(opened) } : {},
      );
      const row: Row = {
        model: name,
        scheme,
        tensorBytes: [...opened.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
        seconds,
        calibrationTokens: seen.tokenCount,
        ...(await windowLosses(decoder, scored.sequences, ctx)),
      };
      known.rows.push(row);
      await decoder.close();
      await opened.close();
      await save();
      console.log(`${name} ${scheme}: ${perplexityOf(row).toFixed(4)}, ${seconds.toFixed(1)} s`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  await runner.close();
  await checkpoint.close();
}
await save();

async function windowLosses(language: LanguageModel, sequences: readonly TokenSequence[], ctx: RunContext) {
  const nats: number[] = [];
  const targets: number[] = [];
  for (const sequence of sequences) {
    const window = await perplexity(language, [sequence], {}, ctx);
    nats.push(window.negativeLogLikelihood);
    targets.push(window.tokens);
  }
  return { nats, targets };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function perplexityOf({ nats, targets }: Row): number {
  return Math.exp(sum(nats) / sum(targets));
}

/** Mean difference in nats per token over windows, and half its 95 % interval (ratio estimator). */
function difference(row: Row, from: Row): { mean: number; half: number } {
  const total = sum(row.targets);
  const changes = row.nats.map((value, i) => value - from.nats[i]);
  const mean = sum(changes) / total;
  const count = changes.length;
  const squares = sum(changes.map((change, i) => (change - mean * row.targets[i]) ** 2));
  return { mean, half: (1.96 * Math.sqrt((count / (count - 1)) * squares)) / total };
}

async function save(): Promise<void> {
  await mkdir(dirname(results), { recursive: true });
  await writeFile(memory, JSON.stringify(known));
  await writeFile(results, markdown());
}

function markdown(): string {
  const { platform, rows } = known;
  const tables = [...new Set(rows.map(({ model }) => model))].map((model) => {
    const place = ({ scheme }: Row) =>
      scheme === "dense"
        ? "0"
        : scheme.replace(
            /^(.*?)-w(\d)(.*)$/,
            (_, method, bits, rest) => `${9 - bits}${rest}${order.indexOf(method)}`,
          );
    const of = rows.filter((row) => row.model === model).sort((a, b) => (place(a) < place(b) ? -1 : 1));
    const dense = of.find(({ scheme }) => scheme === "dense");
    const lines = of.map((row) => {
      const rounding = of.find(({ scheme }) => scheme === row.scheme.replace(/^(.*?)-w(\d)/, "rtn-w$2"));
      const beside =
        rounding && rounding !== row && dense !== row
          ? (({ mean, half }) => `${mean.toFixed(4)} ± ${half.toFixed(4)}`)(difference(row, rounding))
          : "";
      const cells = [
        row.scheme === "dense" ? "unquantised" : row.scheme,
        perplexityOf(row).toFixed(3),
        dense ? (perplexityOf(row) / perplexityOf(dense)).toFixed(3) : "",
        beside,
        (row.tensorBytes / 2 ** 20).toFixed(1),
      ];
      return `| ${cells.join(" | ")} |`;
    });
    const { calibrationTokens, targets } = of[0];
    return [
      `## ${model}`,
      "",
      `${calibrationTokens} calibration tokens, ${sum(targets)} tokens scored in ${targets.length} windows.`,
      "",
      "| scheme | perplexity | ÷ unquantised | nats per token beside rtn | MiB of tensors |",
      "| --- | ---: | ---: | ---: | ---: |",
      ...lines,
      "",
    ].join("\n");
  });
  return [
    "# Quality of quantised models",
    "",
    "Made by `npx jiti packages/quantize/bench/quality.ts`. Each figure is measured on the files as written, by ONNX",
    "Runtime's MatMulNBits over the packed weights (activations of w8a8 simulated in float32). Negative nats beside rtn: better than rounding to nearest, with the 95 % interval over paired windows.",
    "",
    `${Object.entries(platform)
      .map(([key, value]) => `${key} ${value}`)
      .join(", ")}.`,
    "",
    ...tables,
  ].join("\n");
}
