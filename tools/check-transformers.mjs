// Folds and drops layers of every tiny checkpoint and of foldling, and lets Python's transformers judge what we wrote: it must load with no
// missing and no unexpected key, and give our logits. Needs a Python with torch, transformers and safetensors: LAYERFOLD_PYTHON, else python3.
// Usage: node tools/check-transformers.mjs [CHECKPOINT …]
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const python = process.env.LAYERFOLD_PYTHON ?? "python3";
const probe = spawnSync(
  python,
  ["-c", "import torch, transformers, safetensors; print(transformers.__version__)"],
  {
    encoding: "utf8",
  },
);
if (probe.status !== 0) {
  console.log(`skipped: ${python} with torch, transformers and safetensors is not at hand`);
  process.exit(0);
}
console.log(`transformers ${probe.stdout.trim()}`);

const architectures = join(root, "packages/graph/test/golden/architectures");
const models =
  process.argv.length > 2
    ? process.argv.slice(2)
    : [
        join(root, "models/foldling/checkpoint"),
        ...readdirSync(architectures).map((name) => join(architectures, name)),
      ];
const layerfold = (...args) =>
  execFileSync("node", [join(root, "packages/cli/bin/layerfold.js"), ...args, "--quiet"], {
    encoding: "utf8",
    stdio: "pipe",
  });

/** input_ids [2, 12] int64, the second row padded after 7 tokens. */
function writeInput(file, vocabularySize) {
  const ids = BigInt64Array.from({ length: 24 }, (_, i) =>
    BigInt(i >= 19 ? 0 : 3 + ((i * 7919) % (vocabularySize - 3))),
  );
  const mask = BigInt64Array.from({ length: 24 }, (_, i) => BigInt(Number(i < 19)));
  const entry = (begin) => ({ dtype: "I64", shape: [2, 12], data_offsets: [begin, begin + 192] });
  const header = Buffer.from(JSON.stringify({ input_ids: entry(0), attention_mask: entry(192) }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(file, Buffer.concat([length, header, Buffer.from(ids.buffer), Buffer.from(mask.buffer)]));
}

/** Layer 2 dropped, whatever it is; and the first two neighbours of one type after layer 0 really merged. */
function plans(layerCount, types) {
  const plan = (start, weights) => ({
    version: 1,
    num_hidden_layers: layerCount,
    groups: Array.from({ length: layerCount }, (_, l) => l)
      .filter((l) => l !== start + 1)
      .map((l) => (l === start ? { layers: [l, l + 1], weights } : { layers: [l] })),
  });
  const alike = types.findIndex((type, l) => l > 0 && type === types[l + 1]);
  return [["drop", plan(1, [1, 0])], ...(alike > 0 ? [["fold", plan(alike, [0.6, 0.4])]] : [])];
}

const jobs = [];
const scratch = mkdtempSync(join(tmpdir(), "layerfold-transformers-"));
try {
  for (const model of models) {
    const name = model.includes("architectures") ? basename(model) : basename(join(model, ".."));
    const {
      num_hidden_layers: layerCount,
      vocab_size: vocabularySize,
      layer_types: types,
    } = JSON.parse(layerfold("inspect", model, "--json"));
    const input = join(scratch, `${name}.safetensors`);
    writeInput(input, vocabularySize);
    for (const [kind, plan] of plans(layerCount, types)) {
      const folder = join(scratch, `${name}-${kind}`);
      writeFileSync(`${folder}.json`, JSON.stringify(plan));
      try {
        layerfold("merge", model, "--plan", `${folder}.json`, "--out", folder);
      } catch (error) {
        if (!String(error.stderr).includes("CONFIG_CANNOT_EXPRESS")) throw error;
        console.log(`      ${name} ${kind}: refused, since its config cannot say it`);
        continue;
      }
      layerfold("trace", folder, "--input", input, "--out", `${folder}.trace.safetensors`);
      jobs.push({ name: `${name} ${kind}`, folder, input, trace: `${folder}.trace.safetensors` });
    }
  }
  const judged = spawnSync(python, [join(root, "tools/load_with_transformers.py")], {
    input: JSON.stringify(jobs),
    encoding: "utf8",
    stdio: ["pipe", "pipe", "inherit"],
  });
  process.stdout.write(judged.stdout);
  process.exitCode = judged.status;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
