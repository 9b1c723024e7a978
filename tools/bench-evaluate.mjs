// Times evaluation beside lm-evaluation-harness on the same documents, in one run: its model hf, ours with and without common beginnings read once.
// LAYERFOLD_PYTHON=python node tools/bench-evaluate.mjs MODEL DATA [RESULTS.md] [TASK:LIMIT…]   (python with lm-eval 0.4.13; DATA as docs/evaluation.md says)
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const dist = (name) => new URL(`../packages/${name}/dist/index.js`, import.meta.url).href;
const { openCheckpoint, openTokenizer } = await import(dist("checkpoint"));
const { openTreeDecoder } = await import(dist("graph"));
const { askDocuments, evaluatedSplit, findTask, fewshotSource, prepareDocuments, readSplit, singleTasks } =
  await import(dist("evaluate"));

const [path, data, results, ...given] = process.argv.slice(2);
const cases = given.length > 0 ? given : ["arc_easy:100", "mmlu_anatomy:40", "wikitext:4"];
const threads = Math.max(1, availableParallelism());
const load = loadavg()[0];

/** Seconds, processor seconds of this process, and what came out. */
async function timed(work) {
  const begun = performance.now();
  const before = process.cpuUsage();
  const value = await work();
  const { user, system } = process.cpuUsage(before);
  return { value, seconds: (performance.now() - begun) / 1000, processor: (user + system) / 1e6 };
}

const checkpoint = await openCheckpoint(path);
const tokenizer = await openTokenizer(path);
const model = await openTreeDecoder(checkpoint, { threads });
const contextLength = checkpoint.architecture.maxPositionEmbeddings;
await model.read({ branches: [{ after: -1, ids: [1, 2, 3] }], targets: [] });

async function ours(name, limit, shareBeginnings) {
  const [{ config }] = singleTasks(await findTask(name));
  const { rows } = await readSplit(data, config, evaluatedSplit(config), true);
  const fewshot = config.num_fewshot ?? 0;
  const { split } = fewshotSource(config);
  const shown = fewshot > 0 ? await readSplit(data, config, split, false) : undefined;
  const documents = prepareDocuments(config, rows, { limit, fewshotRows: shown?.rows });
  return timed(() => askDocuments(model, tokenizer, documents, { contextLength, name, shareBeginnings }, {}));
}

const python = process.env.LAYERFOLD_PYTHON ?? "python3";
const batch = "8";
const tool = fileURLToPath(new URL("bench_evaluate.py", import.meta.url));
const rows = [];
let versions;
for (const one of cases) {
  const [name, limit] = one.split(":");
  const shared = await ours(name, Number(limit), true);
  const alone = await ours(name, Number(limit), false);
  const printed = execFileSync(python, [tool, path, data, `${threads}`, batch, one], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const harness = JSON.parse(printed.trim().split("\n").at(-1));
  versions = harness;
  const sum = (responses) => responses.flat().reduce((total, r) => total + (Array.isArray(r) ? r[0] : r), 0);
  const difference = Math.abs(sum(shared.value) - sum(alone.value));
  rows.push({ name, limit, shared, alone, harness, difference });
  console.error(
    `${name}: harness ${harness.seconds.toFixed(1)} s, shared ${shared.seconds.toFixed(1)} s, alone ${alone.seconds.toFixed(1)} s`,
  );
}
await model.close();
await checkpoint.close();

const times = (a, b) => `× ${(a / b).toFixed(2)}`;
const onnx = createRequire(new URL("../packages/onnx/package.json", import.meta.url))(
  "onnxruntime-node/package.json",
).version;
const text = `# Evaluation beside lm-evaluation-harness

\`LAYERFOLD_PYTHON=python node tools/bench-evaluate.mjs MODEL DATA benchmarks/results/evaluation.md ${cases.join(" ")}\`, one run of each, one after the other, on
${new Date().toISOString().slice(0, 10)}: ${cpus()[0]?.model.trim()}, ${threads} threads; load of the machine before it began ${load.toFixed(1)}. The same documents; float32; without making requests. The
harness: ${versions.lm_eval}, transformers ${versions.transformers}, torch ${versions.torch}, batches of ${batch}. layerfold: ONNX Runtime ${onnx}, Node ${process.version}. Model: ${path.split("/").at(-1)}.

| task | documents | requests | harness, s (processor) | layerfold, s (processor) | its speed | by processor time | each request read whole, s (processor) | its speed |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${rows
  .map(({ name, limit, shared, alone, harness }) =>
    [
      ...["", name, limit, harness.requests],
      `${harness.seconds.toFixed(1)} (${harness.processor.toFixed(1)})`,
      `${shared.seconds.toFixed(1)} (${shared.processor.toFixed(1)})`,
      times(harness.seconds, shared.seconds),
      times(harness.processor, shared.processor),
      `${alone.seconds.toFixed(1)} (${alone.processor.toFixed(1)})`,
      times(harness.seconds, alone.seconds),
      "",
    ]
      .join(" | ")
      .trim(),
  )
  .join("\n")}

Seconds of a busy machine say little; processor time counts what a process used itself, threads of torch that wait by spinning included. "Read whole": without common beginnings read once, a
letter's request too, of which the harness answers the four of a question from one row.
`;
if (results) {
  // What stands behind the table, the judgement of every request, stays.
  let rest = "";
  try {
    const before = readFileSync(results, "utf8");
    rest = before.includes("\n## ") ? before.slice(before.indexOf("\n## ")) : "";
  } catch {}
  writeFileSync(join(results), text + rest);
} else console.log(text);
