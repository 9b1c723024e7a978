// Does merging beat dropping? Presets × ratios, each plan carried out in four ways (dropped, dropped + repair, merged, merged + repair),
// with perplexity on every text, KL to the dense model, accuracy, seconds and peak memory. What is measured is kept in OUT/rows, so a run
// that is broken off goes on where it stopped; OUT/quality.md and OUT/quality.json are written anew after every plan.
//
// `--presets sleb,sleb+slerp,shortgpt+ties+reconstruct`: a preset's planner with another strategy (and repair) is one more row of presets.
//
// node benchmarks/quality.mjs models/foldling/checkpoint --calibration models/foldling/data/calibration.jsonl \
//   --text models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl   (after npm run setup)
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { qualityTable } from "../packages/cli/dist/quality-table.js";
import { createRun } from "../packages/cli/dist/run.js";
import { preset, presetIds } from "../packages/merge/dist/index.js";

const string = { type: "string" };
const strings = { type: "string", multiple: true };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    presets: string,
    ratios: { ...string, default: "0.125,0.25,0.375,0.4375" },
    calibration: string,
    "calibration-tokens": string,
    "self-temperature": string,
    "calibration-questions": string,
    "question-weight": string,
    "recall-weight": string,
    "planning-tokens": string,
    text: strings,
    questions: string,
    task: strings,
    window: string,
    "max-tokens": string,
    pooling: string,
    "allow-overlap": { type: "boolean" },
    seed: { ...string, default: "0" },
    set: strings,
    out: string,
    quiet: { type: "boolean" },
  },
});
const [model] = positionals;
if (model === undefined || values.calibration === undefined) {
  console.error(
    "usage: node benchmarks/quality.mjs MODEL --calibration TEXTS [--text F]… [--task NAME:F]… [--presets a,b]",
  );
  process.exit(2);
}
/** `PRESET+STRATEGY+REPAIR`: a preset whose plan is carried out in another way. */
function combined(id) {
  const [base, strategy, repair] = id.split("+");
  return {
    ...preset(base),
    id,
    ...(strategy && { strategy: { id: strategy }, repair: repair && { id: repair } }),
  };
}
const number = (name) => (values[name] === undefined ? undefined : Number(values[name]));
const name = basename(model) === "checkpoint" ? basename(join(model, "..")) : basename(model);
const out = values.out ?? join(fileURLToPath(new URL("results", import.meta.url)), `quality-${name}`);
const interruption = new AbortController();
process.once("SIGINT", () => interruption.abort());
try {
  const run = createRun(
    { seed: Number(values.seed), set: values.set, quiet: values.quiet },
    interruption.signal,
  );
  const table = await qualityTable(
    {
      model,
      presets: (values.presets?.split(",") ?? presetIds).map(combined),
      ratios: values.ratios.split(",").map(Number),
      calibration: values.calibration,
      calibrationTokens: number("calibration-tokens"),
      selfTemperature: number("self-temperature"),
      calibrationQuestions: values["calibration-questions"],
      questionWeight: number("question-weight"),
      recallWeight: number("recall-weight"),
      planningTokens: number("planning-tokens"),
      texts: values.text,
      questions: values.questions,
      tasks: values.task,
      window: number("window"),
      maxTokens: number("max-tokens"),
      pooling: values.pooling,
      allowOverlap: values["allow-overlap"],
      out,
    },
    run,
  );
  console.log(`${table.rows.length} rows → ${join(out, "quality.md")}`);
} catch (error) {
  console.error(error.code ? `error ${error.code}: ${error.message}` : error);
  process.exitCode = 1;
}
