// Drops layers of foldling as models/foldling/measurements.json has it (measured with transformers) and holds perplexity and accuracy
// against it: the whole way through the command line, every figure from the checkpoint re-opened from disk.
// Usage: node benchmarks/drop-rows.mjs   (after npm run setup)
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const foldling = join(root, "models/foldling");
const measured = JSON.parse(readFileSync(join(foldling, "measurements.json"), "utf8"));
const layerfold = (...args) =>
  JSON.parse(
    execFileSync("node", [join(root, "packages/cli/bin/layerfold.js"), ...args, "--quiet", "--json"]),
  );

/** A dropped layer joins the group of the kept layer before it. */
function dropPlan(kept) {
  const groups = kept.map((layer, i) => {
    const start = i === 0 ? 0 : layer;
    const end = kept[i + 1] ?? 16;
    const layers = Array.from({ length: end - start }, (_, j) => start + j);
    return { layers, weights: layers.map((l) => Number(l === layer)) };
  });
  return { version: 1, num_hidden_layers: 16, groups };
}

const scratch = mkdtempSync(join(tmpdir(), "layerfold-drops-"));
let worst = 0;
let differing = 0;
try {
  for (const row of [
    measured.dense,
    ...measured.drop_one,
    ...measured.drop_last,
    ...measured.drop_least_influential,
  ]) {
    const folder = join(scratch, "dropped");
    writeFileSync(join(scratch, "plan.json"), JSON.stringify(dropPlan(row.kept)));
    layerfold(
      "merge",
      join(foldling, "checkpoint"),
      "--plan",
      join(scratch, "plan.json"),
      "--out",
      folder,
      "--force",
    );
    const { perplexity, correct, count } = layerfold(
      ...["eval", folder, "--perplexity", join(foldling, "data/validation.jsonl")],
      ...["--questions", join(foldling, "data/questions-test.jsonl")],
    );
    const error = Math.abs(perplexity / row.perplexity - 1);
    const questions = correct - Math.round(row.accuracy * count);
    worst = Math.max(worst, error);
    differing = Math.max(differing, Math.abs(questions));
    const gone = Array.from({ length: 16 }, (_, l) => l).filter((l) => !row.kept.includes(l));
    console.log(
      `${(gone.join(",") || "dense").padEnd(20)} perplexity ${perplexity.toFixed(4)} (transformers ${row.perplexity}, ${(error * 100).toFixed(3)} % off), ` +
        `${correct} of ${count} right (${questions >= 0 ? "+" : ""}${questions})`,
    );
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`largest difference: perplexity ${(worst * 100).toFixed(3)} %, ${differing} questions`);
process.exitCode = worst <= 0.005 ? 0 : 1;
