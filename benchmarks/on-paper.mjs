// How long a model takes per stage, on paper: float operations over a rate of products, bytes over a rate of the disk, whichever is longer.
// Usage: node benchmarks/on-paper.mjs   (prints the tables of docs/speed.md and docs/workers.md)
const models = {
  "8B (Llama 3)": { layers: 32, hidden: 4096, inner: 14336, kv: 1024, vocabulary: 128256 },
  "70B (Llama 3)": { layers: 80, hidden: 8192, inner: 28672, kv: 1024, vocabulary: 128256 },
};
/** Float32 products per second that are reached, bytes per second of the disk, and memory. */
const machines = {
  "laptop, 8 cores": { flops: 8 * 70e9, disk: 2e9 },
  "server, 64 cores": { flops: 64 * 70e9, disk: 3e9 },
  "one GPU": { flops: 40e12, disk: 3e9 },
};
const tokens = { capture: 57 * 128, perplexity: 300_000, repair: 65_536, gptq: 128 * 2048 };

function stages({ layers, hidden, inner, kv, vocabulary }) {
  const block = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner;
  const weights = 2 * (layers * block + 2 * hidden * vocabulary);
  const pass = (count) => 2 * count * layers * block;
  const features = 2 * inner;
  return {
    "capture, 57 prompts of 128 tokens": { flops: pass(tokens.capture), bytes: weights },
    "perplexity, WikiText-2 (300,000 tokens)": {
      flops: pass(tokens.perplexity) + 2 * tokens.perplexity * hidden * vocabulary,
      bytes: weights,
    },
    "merge, drop or mean": { flops: 0, bytes: 2 * weights },
    // Two dense layers and one folded block see the text; a Gram of both layers' neurons, its factor, and the places' projections.
    "component-fold, each pair (65,536 tokens)": {
      flops: 2 * tokens.repair * 3 * block + tokens.repair * features ** 2 + features ** 3 / 3,
      bytes: 2 * 2 * block,
    },
    "component-fold's other layers, each": { flops: 2 * tokens.repair * 3 * block, bytes: 2 * block },
    // Two passes (before and behind the layer's rounding), Hessians of four inputs, and the error that each column hands on.
    "GPTQ, 128 texts of 2,048 tokens": {
      flops:
        2 * pass(tokens.gptq) +
        layers *
          (2 * tokens.gptq * (3 * hidden ** 2 + inner ** 2) +
            6 * hidden ** 3 +
            (inner ** 3 * 2) / 3 +
            block * hidden),
      bytes: 1.3 * weights,
    },
  };
}

const spelled = (seconds) =>
  seconds < 90
    ? `${seconds.toPrecision(2)} s`
    : seconds < 5400
      ? `${(seconds / 60).toFixed(0)} min`
      : `${(seconds / 3600).toFixed(1)} h`;

for (const [name, shape] of Object.entries(models)) {
  const rows = Object.entries(stages(shape)).map(([stage, { flops, bytes }]) => [
    stage,
    flops > 0 ? `${(flops / 1e12).toPrecision(3)}` : "–",
    (bytes / 1e9).toPrecision(3),
    ...Object.values(machines).map((machine) =>
      spelled(Math.max(flops / machine.flops, bytes / machine.disk)),
    ),
  ]);
  const head = [name, "TFLOP", "GB", ...Object.keys(machines)];
  console.log(`| ${head.join(" | ")} |\n| ${head.map((_, i) => (i === 0 ? "---" : "--:")).join(" | ")} |`);
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
  console.log();
}

/** What so many workers make of a grid: each stage's pieces spread, and what is left of one fold behind another. */
const worker = { name: "16 cores", flops: 16 * 70e9, disk: 3e9 };
const grid = {
  cells: 12,
  pairs: 8,
  trials: 31 + 30 + 29 + 28 + 27 + 26 + 25 + 24,
  planning: 16_384,
  shard: 16_384,
};

function gridStages(shape) {
  const all = stages(shape);
  const { hidden, inner, kv, layers, vocabulary } = shape;
  const block = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner;
  const pass = (count) => 2 * count * (layers * block + hidden * vocabulary);
  const ppl = all["perplexity, WikiText-2 (300,000 tokens)"];
  const pair = all["component-fold, each pair (65,536 tokens)"];
  const single = all["component-fold's other layers, each"];
  const fold = {
    flops: grid.pairs * pair.flops + (layers - 2 * grid.pairs) * single.flops,
    bytes: grid.pairs * pair.bytes + (layers - 2 * grid.pairs) * single.bytes,
  };
  const shards = (tokens) => Math.max(1, Math.round(tokens / grid.shard));
  return [
    // Of a round of best-partition: every pair of neighbours, then of what is left.
    ["plans: trials of 16,384 tokens", grid.trials, { flops: pass(grid.planning), bytes: 0 }],
    ["capture, 65,536 tokens", shards(65_536), { flops: pass(grid.shard), bytes: ppl.bytes }],
    ["folds: component-fold of 8 pairs, 65,536 tokens", grid.cells, fold],
    [
      "perplexity of dense, folds and controls, 300,000 tokens",
      shards(tokens.perplexity) * (1 + 2 * grid.cells),
      { flops: ppl.flops / shards(tokens.perplexity), bytes: ppl.bytes },
    ],
  ];
}

for (const [name, shape] of Object.entries(models)) {
  const counts = [1, 16, 256];
  console.log(
    `| ${name}, a grid of ${grid.cells} folds | pieces | ${counts.map((n) => `${n} × ${worker.name}`).join(" | ")} |`,
  );
  console.log(`| --- | --: | ${counts.map(() => "--:").join(" | ")} |`);
  const sums = counts.map(() => 0);
  for (const [stage, pieces, { flops, bytes }] of gridStages(shape)) {
    const piece = Math.max(flops / worker.flops, bytes / worker.disk);
    const times = counts.map((n) => Math.ceil(pieces / n) * piece);
    for (const [i, time] of times.entries()) sums[i] += time;
    console.log(`| ${stage} | ${pieces} | ${times.map(spelled).join(" | ")} |`);
  }
  console.log(
    `| all | | ${sums.map((sum, i) => `${spelled(sum)}${i ? ` (× ${(sums[0] / sum).toFixed(1)})` : ""}`).join(" | ")} |\n`,
  );
}
