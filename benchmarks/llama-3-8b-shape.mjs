// Memory and time of running models that are larger than memory: a random checkpoint of a well-known shape is captured, scored and
// compressed, each in a process of its own, beside the machine's own rate of float32 products measured in the same run. Where the whole
// model fits too, both ways of running stand side by side and are compared.
// Usage: node benchmarks/llama-3-8b-shape.mjs [--shape llama-3-8b|1.17b] [--layers N] [--folder F] [--memory 8GiB] [--limit 3GiB]
//          [capture perplexity drop mean compress …, each alone or as NAME=whole, NAME=blocks, NAME=limited]
//   (after npm run setup; llama-3-8b takes 16 GB in the folder, and a compress as much again). What is limited runs in a control group with
//   --limit bytes of memory, the files that it reads included, and no swap: Linux, as root.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { built, shapes, writeRandom } from "./random-checkpoint.mjs";

const script = fileURLToPath(import.meta.url);
const data = fileURLToPath(new URL("../models/foldling/data/", import.meta.url));
const gib = 2 ** 30;
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: "string", default: "llama-3-8b" },
    layers: { type: "string" },
    folder: { type: "string" },
    memory: { type: "string" },
    limit: { type: "string", default: "3GiB" },
    execution: { type: "string" },
    case: { type: "string" },
  },
});
const shape = shapes[options.shape];
const config = { ...shape, num_hidden_layers: Number(options.layers ?? shape.num_hidden_layers) };

/** Multiply-adds of a token's way through the blocks, and through the head. */
const { hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
const blockWeights = hidden * hidden * (2 + (2 * kvHeads) / heads) + 3 * hidden * config.intermediate_size;
const headWeights = hidden * config.vocab_size;

/** Windows of random token ids. */
async function windows(count, length) {
  const { seededRng } = await built("linalg");
  const rng = seededRng(3);
  return Array.from({ length: count }, () =>
    Int32Array.from({ length }, () => rng.integer(config.vocab_size)),
  );
}

/** Seconds, float operations and figures of each case; the checkpoint is opened in it. */
const cases = {
  async gemm() {
    const { onnxEngine } = await built("onnx");
    const { tensor } = await built("core");
    const engine = onnxEngine();
    const a = tensor(new Float32Array(2048 * 4096).fill(0.5), [2048, 4096]);
    const b = tensor(new Float32Array(4096 * 4096).fill(0.5), [4096, 4096]);
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 6; i++) {
      const start = performance.now();
      await engine.matmul(a, b, { transposeB: true });
      best = Math.min(best, (performance.now() - start) / 1000);
    }
    return { seconds: best, flops: 2 * 2048 * 4096 * 4096 };
  },
  /** Every block's weights read and decoded, and nothing else. */
  async read(directory) {
    const { openCheckpoint, floatReader } = await built("checkpoint");
    const checkpoint = await openCheckpoint(directory);
    const reader = floatReader();
    const start = performance.now();
    let bytes = 0;
    for (const { tensors } of checkpoint.architecture.blocks) {
      const stored = [...tensors.values()].map((name) => checkpoint.tensors.get(name));
      const values = await reader.read(stored.map((tensor) => ({ tensor })));
      for (const { byteLength } of stored) bytes += byteLength;
      reader.recycle(values);
    }
    const seconds = (performance.now() - start) / 1000;
    await reader.close();
    await checkpoint.close();
    return { seconds, bytes };
  },
  async capture(directory, run) {
    const { withExecution } = await built("pipeline");
    const { tokenBatch } = await built("core");
    const { openCheckpoint } = await built("checkpoint");
    const { openDecoder } = await built("graph");
    const { captureActivations } = await built("capture");
    const checkpoint = await openCheckpoint(directory);
    const { execution } = withExecution(run, checkpoint);
    const rows = await windows(57, 128);
    const batches = [rows.slice(0, 32), rows.slice(32)].map((part) => tokenBatch(part));
    const start = performance.now();
    const decoder = await openDecoder(checkpoint, { execution });
    const { layers, statistics } = await captureActivations(decoder, batches, { pooling: "last" }, run.ctx);
    const seconds = (performance.now() - start) / 1000;
    const figure = layers.at(-1).data.reduce((sum, x) => sum + Math.abs(x), 0) + statistics.norm.at(-1);
    return { seconds, flops: 2 * 57 * 128 * blockWeights * config.num_hidden_layers, execution, figure };
  },
  async perplexity(directory, run) {
    const { withExecution } = await built("pipeline");
    const { openCheckpoint } = await built("checkpoint");
    const { openDecoder } = await built("graph");
    const { perplexity } = await built("evaluate");
    const checkpoint = await openCheckpoint(directory);
    const { execution } = withExecution(run, checkpoint);
    const sequences = (await windows(8, 512)).map((ids) => ({ ids, scoredFrom: 1 }));
    const start = performance.now();
    const decoder = await openDecoder(checkpoint, { execution });
    const found = await perplexity(decoder, sequences, {}, run.ctx);
    const seconds = (performance.now() - start) / 1000;
    const flops = 2 * 8 * 512 * (blockWeights * config.num_hidden_layers + headWeights);
    return { seconds, flops, execution, figure: found.negativeLogLikelihood / found.tokens };
  },
  async compress(directory, run, out) {
    const { compress } = await built("pipeline");
    const start = performance.now();
    const { rows } = await compress(
      {
        model: directory,
        layers: [Math.round((18 / 32) * config.num_hidden_layers)],
        method: "mka",
        calibration: `${data}calibration.jsonl`,
        calibrationTokens: 57 * 128,
        window: 128,
        evaluate: [`${data}validation.jsonl[0:8]`],
        out,
      },
      run,
    );
    const seconds = (performance.now() - start) / 1000;
    // Of the dense model, the fold and its drop control; then both folds' divergences from the dense model.
    const figures = [...rows.map((row) => row.perplexity), ...rows.slice(1).map((row) => row.kl_to_dense)];
    return { seconds, figures };
  },
};

/** A fold of every third pair of layers, and how long `cp` takes for the same bytes; both until they are on the disk. */
async function merge(directory, run, out, strategy) {
  const { foldCheckpoint } = await built("merge");
  const { openCheckpoint } = await built("checkpoint");
  const checkpoint = await openCheckpoint(directory);
  const count = config.num_hidden_layers;
  const groups = [];
  for (let layer = 0; layer < count; layer++) {
    if (layer % 3 === 0 && layer + 1 < count)
      groups.push({ layers: [layer, ++layer], weights: strategy.weights });
    else groups.push({ layers: [layer] });
  }
  const plan = { version: 1, num_hidden_layers: count, groups };
  const start = performance.now();
  const { tensorBytes } = await foldCheckpoint(checkpoint, plan, { strategy: strategy.made, out }, run.ctx);
  const seconds = (performance.now() - start) / 1000;
  const peak = process.resourceUsage().maxRSS * 1024;
  const copying = performance.now();
  spawnSync("sh", ["-c", `cp -r "${out}" "${out}-copy" && sync -f "${out}-copy"/*`], { stdio: "inherit" });
  const copySeconds = (performance.now() - copying) / 1000;
  rmSync(`${out}-copy`, { recursive: true });
  return { seconds, bytes: tensorBytes, copySeconds, peak };
}
cases.drop = async (...args) => {
  const { drop } = await built("merge");
  return merge(...args, { made: drop(), weights: [1, 0] });
};
cases.mean = async (...args) => {
  const { weighted } = await built("merge");
  return merge(...args, { made: weighted(), weights: [0.75, 0.25] });
};

if (options.case) {
  const { createRun } = await built("pipeline");
  const { memory, execution } = options;
  const run = createRun({
    ...(memory && { memory }),
    ...(execution && { execution }),
    report: (event) => event.type !== "progress" && console.error(`  ${event.message}`),
  });
  const found = await cases[options.case](options.folder, run, positionals[0]);
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  const cpuSeconds = (userCPUTime + systemCPUTime) / 1e6;
  console.log(JSON.stringify({ peak: maxRSS * 1024, cpuSeconds, ...found }));
  process.exit(0);
}

const scratch = options.folder ?? mkdtempSync(join(tmpdir(), "layerfold-streaming-"));
const directory = join(scratch, `${options.shape}-${config.num_hidden_layers}`);
function measure(name, way) {
  const out = join(scratch, `out-${name}`);
  const execution = way === "limited" ? undefined : way;
  const { command, before, leave } =
    way === "limited" ? inGroup() : { command: process.execPath, before: [] };
  const { stdout, status, signal } = spawnSync(
    command,
    [
      ...before,
      ...[script, "--case", name, "--shape", options.shape, "--layers", `${config.num_hidden_layers}`],
      ...["--folder", directory],
      ...(options.memory ? ["--memory", options.memory] : []),
      ...(execution ? ["--execution", execution] : []),
      out,
    ],
    { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" },
  );
  leave?.();
  rmSync(out, { recursive: true, force: true });
  if (status !== 0) {
    console.log(`${name}: failed (${signal ?? `exit ${status}`})`);
    return undefined;
  }
  return JSON.parse(stdout);
}

/** A command that puts itself into a new control group, and becomes Node. */
function inGroup() {
  const bytes = Number.parseFloat(options.limit) * (/g/i.test(options.limit) ? gib : gib / 1024);
  const legacy = existsSync("/sys/fs/cgroup/memory");
  const folder = `/sys/fs/cgroup/${legacy ? "memory/" : ""}layerfold-${process.pid}`;
  const [limit, tasks] = legacy ? ["memory.limit_in_bytes", "tasks"] : ["memory.max", "cgroup.procs"];
  if (!existsSync(folder)) mkdirSync(folder);
  writeFileSync(join(folder, limit), `${bytes}`);
  const script = `echo $$ > ${folder}/${tasks} && exec "$0" "$@"`;
  return { command: "/bin/sh", before: ["-c", script, process.execPath], leave: () => rmdirSync(folder) };
}

try {
  await writeRandom(directory, config);
  const gemm = measure("gemm");
  const rate = gemm.flops / gemm.seconds;
  console.log(
    `${options.shape}, ${config.num_hidden_layers} layers; float32 products: ${(rate / 1e9).toFixed(0)} GFLOP/s`,
  );
  const read = measure("read");
  console.log(
    `weights read and decoded alone: ${read.seconds.toFixed(1)} s, ${(read.bytes / read.seconds / 1e9).toFixed(2)} GB/s, ${(read.seconds / config.num_hidden_layers).toFixed(2)} s a block`,
  );
  /** Figures of what ran in several ways: [way, figures] of each, by name. */
  const ways = new Map();
  const wanted = positionals.length > 0 ? positionals : ["capture", "perplexity", "drop", "mean", "compress"];
  for (const name of wanted) {
    const [, only, way] = /^([a-z]+)(?:=(whole|blocks|limited))?$/.exec(name);
    const found = measure(only, way);
    if (!found) continue;
    const { seconds, flops, peak, execution, figure, figures, bytes, copySeconds } = found;
    const parts = [
      `${name}${execution ? ` (${execution})` : ""}: peak ${(peak / gib).toFixed(2)} GiB, ${seconds.toFixed(0)} s`,
    ];
    if (flops)
      parts.push(
        `${(flops / seconds / 1e9).toFixed(0)} GFLOP/s = ${((100 * flops) / seconds / rate).toFixed(0)} % of the products' rate`,
      );
    if (copySeconds)
      parts.push(
        `${(bytes / seconds / 1e6).toFixed(0)} MB/s = ${(copySeconds / seconds).toFixed(2)} × cp of the same bytes`,
      );
    if (figure !== undefined) parts.push(`figure ${figure.toPrecision(9)}`);
    if (figures) parts.push(`figures ${figures.map((x) => x.toPrecision(9)).join(", ")}`);
    parts.push(`${found.cpuSeconds.toFixed(0)} s of processor time`);
    console.log(parts.join(", "));
    const all = figures ?? (figure === undefined ? [] : [figure]);
    const before = ways.get(only) ?? [];
    for (const [other, values] of before) {
      const differences = all.map((x, i) => Math.abs(x - values[i]) / Math.abs(values[i]));
      console.log(
        `  beside ${other}: largest relative difference ${Math.max(...differences).toPrecision(2)}`,
      );
    }
    if (all.length > 0) ways.set(only, [...before, [name, all]]);
  }
} finally {
  if (!options.folder) rmSync(scratch, { recursive: true, force: true });
}
