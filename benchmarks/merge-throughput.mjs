// Speed and memory of merging a checkpoint of Llama-3-8B's shape but of fewer layers (random bfloat16: 2.1 GB of embedding and head, 436 MB a
// layer), beside `cp` of the very files that the merge writes, and beside mergekit. Pairs of layers become one, dropped or as their mean 3 : 1.
// Every case runs in a process of its own; all read a warm page cache and are done when what they wrote is synced. The rounds take turns.
// Needs 5 times the checkpoint in the temporary folder, and for the rivals a Python with mergekit.
// Usage: node benchmarks/merge-throughput.mjs [--layers 8] [--rounds 3] [--python PATH]   (after npm run setup)
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const built = (name) => import(new URL(`../packages/${name}/dist/index.js`, import.meta.url));
const script = fileURLToPath(import.meta.url);
const rivals = fileURLToPath(new URL("../tools/merge_rivals.py", import.meta.url));

const configOf = (layers) => ({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 4096,
  intermediate_size: 14336,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  num_hidden_layers: layers,
  vocab_size: 128256,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  dtype: "bfloat16",
});

/** Four million normal draws, again and again from another start. */
async function write(directory, layers) {
  const { encodeFloats } = await built("core");
  const { architectureOf, writeCheckpoint } = await built("checkpoint");
  const { seededRng } = await built("linalg");
  const config = configOf(layers);
  const rng = seededRng(1);
  const draws = Float32Array.from({ length: 2 ** 21 }, () => rng.normal() / 64);
  const encoded = encodeFloats(draws, "bfloat16");
  const pattern = new Uint8Array(2 * encoded.length);
  pattern.set(encoded);
  pattern.set(encoded, encoded.length);
  const { globals, blocks } = architectureOf(config);
  const wanted = [
    ...globals,
    ...blocks.flatMap(({ tensors, shapes }) => [...tensors].map(([role, name]) => [name, shapes.get(role)])),
  ];
  const tensors = wanted.map(([name, shape]) => {
    const begin = 2 * rng.integer(draws.length);
    const fill = (target) => target.set(pattern.subarray(begin, begin + target.length));
    return { name, dtype: "bfloat16", shape, fill };
  });
  await writeCheckpoint(directory, { config, tensors });
}

const groupsOf = (layers) => Array.from({ length: layers / 2 }, (_, g) => ({ layers: [2 * g, 2 * g + 1] }));

/** One case, in this process. */
const cases = {
  async drop(directory, out, layers) {
    return merge(directory, out, layers, [1, 0]);
  },
  async mean(directory, out, layers) {
    return merge(directory, out, layers, [0.75, 0.25]);
  },
  async decode(directory) {
    const { openCheckpoint, storedReader } = await built("checkpoint");
    const checkpoint = await openCheckpoint(directory);
    const reader = storedReader();
    const sizes = [...checkpoint.tensors.values()].map(({ byteLength }) => byteLength / 2);
    // Of the largest tensor, the rows that fit.
    const target = new Float32Array(Math.min(2 ** 26, Math.max(...sizes)));
    const startedAt = performance.now();
    for (const stored of checkpoint.tensors.values()) {
      const count = stored.byteLength / 2;
      for (let start = 0; start < count; start += target.length) {
        await reader.floats(stored, target.subarray(0, Math.min(target.length, count - start)), start);
      }
    }
    const seconds = (performance.now() - startedAt) / 1000;
    await reader.close();
    await checkpoint.close();
    return seconds;
  },
  async block(directory) {
    const { openCheckpoint } = await built("checkpoint");
    const checkpoint = await openCheckpoint(directory);
    const startedAt = performance.now();
    for (const layer of checkpoint.architecture.blocks.keys()) await checkpoint.block(layer);
    const seconds = (performance.now() - startedAt) / 1000;
    await checkpoint.close();
    return seconds;
  },
};

async function merge(directory, out, layers, weights) {
  const { parsePlan } = await built("core");
  const { openCheckpoint } = await built("checkpoint");
  const { portableEngine, seededRng } = await built("linalg");
  const { foldCheckpoint, weighted } = await built("merge");
  const checkpoint = await openCheckpoint(directory);
  const groups = groupsOf(layers).map((group) => ({ ...group, weights }));
  const plan = parsePlan({ version: 1, num_hidden_layers: layers, groups });
  const startedAt = performance.now();
  const ctx = { rng: seededRng(0), engine: portableEngine() };
  await foldCheckpoint(checkpoint, plan, { strategy: weighted(), out }, ctx);
  const seconds = (performance.now() - startedAt) / 1000;
  await checkpoint.close();
  return seconds;
}

function widen(from, to, start) {
  for (let i = 0; i < to.length; i++) to[i] = from[start + i] << 16;
}

function addInto(left, leftFactor, right, rightFactor) {
  for (let i = 0; i < left.length; i++) left[i] = leftFactor * left[i] + rightFactor * right[i];
}

function narrow(from, to, start) {
  for (let i = 0; i < from.length; i++) {
    to[start + i] = (from[i] + 0x7fff + ((from[i] >>> 16) & 1)) >>> 16;
  }
}

/** Nanoseconds a value takes in a mean of two bfloat16 arrays: the least of many runs of the kernels, and of loops that JavaScript compiles. */
async function kernels() {
  const { combineFloats, encodeFloats } = await built("core");
  const count = 2 ** 20;
  const [a, b] = [1, 2].map((seed) =>
    encodeFloats(
      Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i)),
      "bfloat16",
    ),
  );
  const [target, other] = [new Uint8Array(2 * count), new Uint8Array(2 * count)];
  const terms = [
    { bytes: a, dtype: "bfloat16", factor: 0.75 },
    { bytes: b, dtype: "bfloat16", factor: 0.25 },
  ];
  const [x, y, out] = [a, b, other].map((bytes) => new Uint16Array(bytes.buffer, bytes.byteOffset, count));
  const tile = 8192;
  const [left, right] = [new Float32Array(tile), new Float32Array(tile)];
  const [leftBits, rightBits] = [new Uint32Array(left.buffer), new Uint32Array(right.buffer)];
  const loops = () => {
    for (let start = 0; start < count; start += tile) {
      widen(x, leftBits, start);
      widen(y, rightBits, start);
      addInto(left, 0.75, right, 0.25);
      narrow(leftBits, out, start);
    }
  };
  const least = (run) => {
    const times = Array.from({ length: 50 }, () => {
      const startedAt = performance.now();
      run();
      return performance.now() - startedAt;
    });
    return (Math.min(...times) * 1e6) / count;
  };
  const [ours, theirs] = [least(() => combineFloats(terms, "bfloat16", target)), least(loops)];
  if (Buffer.compare(target, other) !== 0) throw new Error("the kernels and the loops give different bytes");
  console.log(
    `mean of two bfloat16 arrays on one thread: ${ours.toFixed(2)} ns a value by combineFloats, ${theirs.toFixed(2)} by loops in JavaScript: × ${(theirs / ours).toFixed(2)}`,
  );
}

const bytesIn = (folder) =>
  readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

function copyFolder(from, to) {
  const startedAt = performance.now();
  const times = execFileSync("sh", ["-c", `cp -r "${from}" "${to}" && sync "${to}"/* && times`], {
    encoding: "utf8",
  });
  const seconds = (performance.now() - startedAt) / 1000;
  // The last line: user and system time of what the shell ran, "0m0.1s 0m2.3s".
  const parts = times
    .trim()
    .split("\n")
    .at(-1)
    .matchAll(/(\d+)m([\d.]+)s/g);
  const cpu = [...parts].reduce((sum, [, minutes, rest]) => sum + 60 * minutes + Number(rest), 0);
  return { seconds, cpu };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

if (process.argv[2] === "--case") {
  const [, , , name, directory, out, layers] = process.argv;
  const before = process.cpuUsage();
  const seconds = await cases[name](directory, out, Number(layers));
  const { user, system } = process.cpuUsage(before);
  const peak = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ seconds, cpu: (user + system) / 1e6, peak }));
} else {
  const { values } = parseArgs({
    options: {
      layers: { type: "string", default: "8" },
      rounds: { type: "string", default: "3" },
      python: { type: "string" },
    },
  });
  const layers = Number(values.layers);
  const { python } = values;
  const scratch = mkdtempSync(join(tmpdir(), "layerfold-merge-"));
  const dense = join(scratch, "dense");
  const written = join(scratch, "written");
  const out = join(scratch, "out");
  const run = (command, args) => {
    const { stdout, status } = spawnSync(command, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (status !== 0) throw new Error(`${command} ${args.join(" ")}: exit ${status}`);
    return JSON.parse(stdout.trim().split("\n").at(-1));
  };
  const ours = (name, to = out) => run(process.execPath, [script, "--case", name, dense, to, `${layers}`]);
  const groups = JSON.stringify(groupsOf(layers).map((group) => group.layers));
  const theirs = (task) => run(python, [rivals, task, dense, out, groups]);
  try {
    await write(dense, layers);
    ours("drop", written);
    const [read, made] = [bytesIn(dense), bytesIn(written)];
    const rows = [
      ["cp", made, () => copyFolder(written, out)],
      ["drop", made, () => ours("drop")],
      ["mean", made, () => ours("mean")],
      ["decode into an array", read, () => ours("decode")],
      ["checkpoint.block", 436_224_000 * layers, () => ours("block")],
      ...(python
        ? [
            ["mergekit passthrough", made, () => theirs("passthrough")],
            ["mergekit linear", made, () => theirs("linear")],
            ["torch, to float32", read, () => theirs("decode")],
          ]
        : []),
    ].map(([name, bytes, measure]) => ({ name, bytes, measure, results: [] }));
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const { name, measure, results } of rows) {
        rmSync(out, { recursive: true, force: true });
        for (const folder of [dense, written]) {
          spawnSync("sh", ["-c", `cat "${folder}"/*.safetensors > /dev/null`]);
        }
        results.push(measure());
        console.error(
          `${name}: ${results.at(-1).seconds.toFixed(2)} s, ${results.at(-1).cpu.toFixed(1)} s of CPU`,
        );
      }
    }
    const version = rows.find(({ name }) => name === "mergekit linear")?.results[0].versions ?? "no rivals";
    console.log(`node ${process.version}, ${cpus()[0].model}, ${cpus().length} cores, ${version}`);
    console.log(
      `${layers} layers, ${(read / 1e9).toFixed(2)} GB; a merge writes ${(made / 1e9).toFixed(2)} GB; page cache warm`,
    );
    const [{ results: copies }] = rows;
    console.log(
      "| | GB | s (of each round) | MB/s | speed ÷ cp's | CPU s | peak RSS, MiB |\n| --- | --: | --: | --: | --: | --: | --: |",
    );
    for (const { name, bytes, results } of rows) {
      const seconds = median(results.map((result) => result.seconds));
      // Against the copy of its own round: what else the machine does changes from round to round.
      const ratio = median(results.map((result, i) => (copies[i].seconds / made) * (bytes / result.seconds)));
      const peak = Math.max(...results.map((result) => result.peak ?? 0));
      const cells = [
        name,
        (bytes / 1e9).toFixed(2),
        `${seconds.toFixed(2)} (${results.map((result) => result.seconds.toFixed(2)).join(", ")})`,
        (bytes / seconds / 1e6).toFixed(0),
        `× ${ratio.toFixed(2)}`,
        median(results.map((result) => result.cpu)).toFixed(1),
        peak ? (peak / 2 ** 20).toFixed(0) : "–",
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
    await kernels();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
