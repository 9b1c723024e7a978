/**
 * An evaluation task of one's own, in one file: claims that are true or false.
 *
 * In code: `readBenchmark(trueOrFalse, "claims.jsonl")`. The command line takes it by path, wherever a benchmark is named:
 * `layerfold eval MODEL --task ./true-or-false.ts:claims.jsonl`, or as calibration `--calibration "./true-or-false.ts:claims.jsonl[:500]:0.1,…"`.
 */
import { z } from "@layerfold/core";
import { defineTask } from "@layerfold/evaluate";

/** Rows are `{ "claim": "Fog is wet.", "holds": true }`. The model's answer is the word that it finds likelier. */
export default defineTask({
  id: "true-or-false",
  summary: "claims that are true or false",
  row: z.object({ claim: z.string().min(1), holds: z.boolean() }),
  item: ({ claim, holds }) => ({
    context: `Claim: ${claim}\nTrue or false:`,
    choices: ["true", "false"],
    answer: holds ? 0 : 1,
  }),
});
