import { z } from "@layerfold/core";
import { choiceRow, defineTask } from "../task.js";

/** OpenBookQA (Mihaylov et al. 2018, arXiv 1809.02789), zero-shot as `openbookqa` of lm-evaluation-harness: the bare stem is the prompt. */
export const openbookqa = defineTask({
  id: "openbookqa",
  summary: "elementary facts and common sense (OpenBookQA)",
  row: z
    .union([z.object({ question_stem: z.string() }), z.object({ question: z.string() })])
    .transform((row) => ({ stem: "question_stem" in row ? row.question_stem : row.question }))
    .and(choiceRow),
  item: ({ stem, choices, answer }) => ({ context: stem, choices, answer }),
});
