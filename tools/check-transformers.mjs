// Folds, silences and drops layers of every tiny checkpoint and of foldling, runs every strategy and repair on foldling, and lets Python's transformers judge what we wrote: it must load with no
// missing and no unexpected key, and give our logits; quantised too, where compressed-tensors is installed. Needs a Python with torch, transformers and safetensors: LAYERFOLD_PYTHON, else python3.
// Usage: node tools/check-transformers.mjs [CHECKPOINT …]
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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

const plan = (layerCount, groups) => {
  const covered = new Set(groups.flatMap(({ layers }) => layers));
  const alone = Array.from({ length: layerCount }, (_, l) => ({ layers: [l] }));
  return {
    version: 1,
    num_hidden_layers: layerCount,
    groups: [...groups, ...alone.filter(({ layers: [l] }) => !covered.has(l))].sort(
      (a, b) => a.layers[0] - b.layers[0],
    ),
  };
};

/**
 * Layer 2 dropped, whatever it is; a layer without its attention and one without its MLP; and the first two neighbours of one type after
 * layer 0 really merged, plainly and with what leaves functions alone.
 */
function cases(layerCount, types) {
  const alike = types.findIndex((type, l) => l > 0 && type === types[l + 1]);
  const folded = plan(layerCount, [{ layers: [alike, alike + 1], weights: [0.6, 0.4] }]);
  return [
    ["whole", plan(layerCount, [])],
    ["drop", plan(layerCount, [{ layers: [1, 2], weights: [1, 0] }])],
    [
      "silent",
      plan(layerCount, [
        { layers: [0], without: ["attention"] },
        { layers: [1], without: ["mlp"] },
      ]),
    ],
    ...(alike > 0
      ? [
          ["fold", folded],
          ["fold, aligned", folded, "--strategy", "aligned"],
          ["fold, norms moved", folded, "--set", "strategy.norms=fold"],
        ]
      : []),
  ];
}

/** The strategies that look at weights alone, on two neighbours. */
function strategyCases(layerCount) {
  const merged = plan(layerCount, [{ layers: [4, 5], weights: [0.6, 0.4] }]);
  return ["slerp", "difference-sum", "task-arithmetic", "ties", "dare", "breadcrumbs"].map((strategy) => [
    strategy,
    merged,
    "--strategy",
    strategy,
  ]);
}

/** Every repair, on two neighbours of which one goes. */
function repairCases(layerCount, calibration) {
  const dropped = plan(layerCount, [{ layers: [4, 5], weights: [1, 0] }]);
  const repairs = [
    ["magnitude"],
    ["channel-scale"],
    ["hadamard-scale"],
    ["linear"],
    ["linear", "--set", "repair.objective=cosine"],
    ["residual-linear"],
    ["searched-weights"],
    ["concatenate"],
    ["concatenate", "--set", "repair.importance=leverage"],
    ["reconstruct"],
    ["component-fold"],
    ["component-fold", "--set", "repair.heads=joint", "--set", "repair.refineEpochs=1"],
  ];
  const text = ["--calibration", calibration, "--calibration-tokens", "2048"];
  return repairs.map(([repair, ...options]) => [
    [repair, ...options.filter((option) => option !== "--set")].join(" "),
    dropped,
    "--repair",
    repair,
    ...text,
    ...options,
  ]);
}

/**
 * Quantised as compressed-tensors files, where its Python package is there to read them. None with zero points: its 0.20.0 makes room for
 * unpacked ones when transformers loads a model, and then refuses the packed ones that it writes itself.
 */
const schemes =
  spawnSync(python, ["-c", "import compressed_tensors"]).status === 0
    ? ["rtn-w4g32", "gptq-w4g128", "gptq-awq-w4g128", "rtn-w8a8", "smoothquant-w8a8"]
    : [];

/** Refusals that belong to a family, not to a mistake. */
const refusals = ["CONFIG_CANNOT_EXPRESS", "NORM_NOT_FOLDABLE", "UPDATE_NOT_SCALABLE"];

const jobs = [];
function judge(name, folder, input, depth) {
  layerfold("trace", folder, "--input", input, "--out", `${folder}.trace.safetensors`);
  jobs.push({ name, folder, input, trace: `${folder}.trace.safetensors`, depth });
}
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
    const calibration = join(model, "../data/calibration.jsonl");
    const all = [
      ...cases(layerCount, types),
      ...(existsSync(calibration)
        ? [...strategyCases(layerCount), ...repairCases(layerCount, calibration)]
        : []),
    ];
    for (const [kind, plan, ...options] of all) {
      const folder = join(scratch, `${name}-${kind}`.replaceAll(/[^\w-]+/g, "-"));
      writeFileSync(`${folder}.json`, JSON.stringify(plan));
      try {
        layerfold("merge", model, "--plan", `${folder}.json`, "--out", folder, ...options);
      } catch (error) {
        const code = refusals.find((refusal) => String(error.stderr).includes(refusal));
        if (!code) throw error;
        console.log(`      ${name} ${kind}: refused, ${code}`);
        continue;
      }
      judge(`${name} ${kind}`, folder, input);
    }
    if (!existsSync(calibration)) continue;
    for (const scheme of schemes) {
      const folder = join(scratch, `${name}-${scheme}`);
      const text = ["--calibration", calibration, "--calibration-tokens", "2048"];
      layerfold(
        ...["quantize", model, "--scheme", scheme, "--format", "compressed-tensors"],
        ...text,
        "--out",
        folder,
      );
      // Rounded activations amplify what float32 sums differ by: a token's largest value stands at a tie (±127.5 steps) where it is negative, and one
      // that rounds the other way changes all that follow; transformers in float64 differs from itself in float32 by as much. So what leaves
      // the first block, where every linear map rounds, is compared, for most tokens; a wrong rule would show in all of them.
      judge(`${name} ${scheme}`, folder, input, scheme.endsWith("a8") ? 1 : undefined);
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
