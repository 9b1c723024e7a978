// What it costs component-fold to choose neurons in float32, as it must where a float64 Gram is too wide: pairs of layers are folded with the
// Gram in float64 and in float32, from the same text; perplexity beside the dense model's, and how many of the places they fill alike. Other layers stay as they are.
// Usage: node benchmarks/gram-precision.mjs MODEL CALIBRATION EVALUATION [TOKENS [FIRST,FIRST… …]]   (after npm run setup)
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../packages/checkpoint/dist/index.js";
import { contiguousData, dropPlan } from "../packages/core/dist/index.js";

const [model, calibration, evaluation, tokens = "8192", ...folds] = process.argv.slice(2);
const command = fileURLToPath(new URL("../packages/cli/bin/layerfold.js", import.meta.url));
const layerfold = (...args) => JSON.parse(execFileSync("node", [command, ...args, "--quiet", "--json"]));
const perplexityOf = (folder) =>
  layerfold("eval", folder, "--perplexity", evaluation, "--max-tokens", "8192").perplexity;

/** The neurons of a block, told by their gates. */
async function neuronsOf(folder, block) {
  const checkpoint = await openCheckpoint(folder);
  const gate = (await checkpoint.block(block)).tensors.get("mlp.gate");
  const [count, hidden] = gate.shape;
  const data = contiguousData(gate);
  const names = Array.from({ length: count }, (_, i) => data.subarray(i * hidden, (i + 1) * hidden).join());
  await checkpoint.close();
  return new Set(names);
}

const dense = await openCheckpoint(model);
const layers = dense.architecture.blocks.length;
await dense.close();
const whole = perplexityOf(model);
const scratch = mkdtempSync(join(tmpdir(), "layerfold-precision-"));
try {
  for (const fold of folds.length > 0 ? folds : ["13", "9,19"]) {
    const firsts = fold.split(",").map(Number);
    const kept = Array.from({ length: layers }, (_, l) => l).filter((l) => !firsts.includes(l - 1));
    const plan = join(scratch, "plan.json");
    writeFileSync(plan, JSON.stringify(dropPlan(layers, kept)));
    const folded = {};
    for (const precision of ["float64", "float32"]) {
      const out = join(scratch, precision);
      const set = ["--set", `repair.gramPrecision=${precision}`, "--set", "repair.refitSingles=false"];
      const text = ["--calibration", calibration, "--calibration-tokens", tokens];
      layerfold(
        "merge",
        model,
        "--plan",
        plan,
        "--strategy",
        "drop",
        "--repair",
        "component-fold",
        ...text,
        ...set,
        "--out",
        out,
        "--force",
      );
      folded[precision] = perplexityOf(out) / whole;
    }
    let [alike, places] = [0, 0];
    for (const first of firsts) {
      const [a, b] = [
        await neuronsOf(join(scratch, "float64"), kept.indexOf(first)),
        await neuronsOf(join(scratch, "float32"), kept.indexOf(first)),
      ];
      places += a.size;
      for (const name of a) if (b.has(name)) alike++;
    }
    console.log(
      `layers ${firsts.map((l) => `${l}+${l + 1}`).join(", ")} folded: float64 × ${folded.float64.toFixed(5)}, ` +
        `float32 × ${folded.float32.toFixed(5)}, ${alike} of ${places} neurons alike`,
    );
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
