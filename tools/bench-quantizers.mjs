// GPTQ, AWQ and SmoothQuant of a model by layerfold and by llm-compressor (tools/bench_quantizers.py) from the same token ids, in turn on this
// machine: wall and processor seconds of reading the model, quantising and writing, peak memory, and the perplexity of what each wrote, both
// judged by `layerfold eval`. Needs LAYERFOLD_PYTHON, a Python with llmcompressor.
// Usage: node tools/bench-quantizers.mjs MODEL TEXT EVALUATION_TEXT [METHODS gptq,smoothquant,awq] [SEQUENCES 32] [LENGTH 512] [GROUP 64] [RESULTS.md]
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { batchBySize, openCheckpoint, openTokenizer } from "../packages/checkpoint/dist/index.js";
import { openRunner } from "../packages/graph/dist/index.js";
import { seededRng } from "../packages/linalg/dist/index.js";
import { onnxEngine } from "../packages/onnx/dist/index.js";
import { quantizeCheckpoint, schemeOf } from "../packages/quantize/dist/index.js";

const schemes = {
  gptq: (group) => `gptq-w4g${group}-sym`,
  awq: (group) => `awq-w4g${group}-sym`,
  smoothquant: () => "smoothquant-w8a8",
};

if (process.argv[2] === "--ours") await ours(...process.argv.slice(3));
else await compare(...process.argv.slice(2));

/** One run of ours, in a process of its own. */
async function ours(model, idsFile, name, out) {
  const ids = JSON.parse(readFileSync(idsFile, "utf8")).map((row) => Int32Array.from(row));
  const start = performance.now();
  const before = process.cpuUsage();
  const ctx = { rng: seededRng(0), engine: onnxEngine({ threads: availableParallelism() }) };
  const checkpoint = await openCheckpoint(model);
  const runner = await openRunner(checkpoint);
  const calibration = async function* () {
    for (const { batch } of batchBySize(ids, 4096)) yield batch;
  };
  const scheme = schemeOf(name, { dtype: checkpoint.dtype, format: "compressed-tensors" });
  await quantizeCheckpoint(checkpoint, runner, out, { scheme, calibration }, ctx);
  const { user, system } = process.cpuUsage(before);
  console.log(
    JSON.stringify({
      seconds: (performance.now() - start) / 1000,
      processor_seconds: (user + system) / 1e6,
      peak_bytes: process.resourceUsage().maxRSS * 1024,
    }),
  );
  await runner.close();
  await checkpoint.close();
}

async function compare(
  model,
  text,
  evaluation,
  methods = "gptq,smoothquant,awq",
  sequences = "32",
  length = "512",
  group = "64",
  results = undefined,
) {
  const python = process.env.LAYERFOLD_PYTHON ?? "python3";
  const run = promisify(execFile);
  const lastLine = async (command, args) => {
    const { stdout } = await run(command, args, { maxBuffer: 2 ** 28 });
    return JSON.parse(stdout.trim().split("\n").at(-1));
  };
  const here = fileURLToPath(import.meta.url);
  const cli = fileURLToPath(new URL("../packages/cli/bin/layerfold.js", import.meta.url));
  const scratch = mkdtempSync(join(tmpdir(), "layerfold-quantizers-"));
  const lines = [];
  const say = (line) => {
    console.log(line);
    lines.push(line);
  };
  try {
    const idsFile = join(scratch, "ids.json");
    writeFileSync(idsFile, JSON.stringify(await windows(model, text, Number(sequences), Number(length))));
    const perplexity = async (folder) => {
      const args = [cli, "eval", folder, "--text", evaluation, "--window", length];
      const { stdout } = await run(process.execPath, [...args, "--max-tokens", "16384", "--json", "--quiet"]);
      return JSON.parse(stdout).perplexity;
    };
    let versions;
    const rows = [];
    for (const method of methods.split(",")) {
      const [a, b] = [join(scratch, `${method}-a`), join(scratch, `${method}-b`)];
      const name = schemes[method](group);
      const mine = await lastLine(process.execPath, [here, "--ours", model, idsFile, name, a]);
      const script = fileURLToPath(new URL("bench_quantizers.py", import.meta.url));
      const theirs = await lastLine(python, [script, model, idsFile, method, group, b]);
      versions ??= theirs.versions;
      console.error(method, JSON.stringify({ mine, theirs }));
      rows.push({ name, mine, theirs, ours: await perplexity(a), rival: await perplexity(b) });
    }
    const told = Object.entries({ node: process.version, ...versions }).map((pair) => pair.join(" "));
    say(
      `${sequences} × ${length} calibration tokens, ${availableParallelism()} cores of ${cpus()[0].model}; ${told.join(", ")}.`,
    );
    say("");
    say(
      "| scheme | seconds, ours | llm-compressor | × its speed | processor seconds, ours | llm-compressor | × | peak GiB, ours | llm-compressor | perplexity, ours | llm-compressor |",
    );
    say("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
    for (const { name, mine, theirs, ours, rival } of rows) {
      const of = (key, unit = 1) =>
        [mine[key], theirs[key]].map((value) => (value / unit).toFixed(unit === 1 ? 1 : 2));
      const times = (key) => (theirs[key] / mine[key]).toFixed(2);
      say(
        `| ${[name, ...of("seconds"), times("seconds"), ...of("processor_seconds"), times("processor_seconds"), ...of("peak_bytes", 2 ** 30), ours.toFixed(3), rival.toFixed(3)].join(" | ")} |`,
      );
    }
    if (results) writeFileSync(results, `${lines.join("\n")}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Token windows evenly spread over the text. */
async function windows(model, text, count, length) {
  const tokenizer = await openTokenizer(model);
  const ids = tokenizer.encode(readFileSync(text, "utf8"));
  const whole = Math.floor(ids.length / length);
  return Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * whole) / count) * length;
    return Array.from(ids.slice(start, start + length));
  });
}
