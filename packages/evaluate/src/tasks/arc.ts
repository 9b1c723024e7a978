import { z } from "@layerfold/core";
import { choiceRow, defineTask } from "../task.js";

/** ARC, easy and challenge (Clark et al. 2018, arXiv 1803.05457), zero-shot as `arc_easy` and `arc_challenge` of lm-evaluation-harness. */
export const arc = defineTask({
  id: "arc",
  summary: "school science questions, answered in words (ARC easy or challenge)",
  row: z.object({ question: z.string() }).and(choiceRow),
  item: ({ question, choices, answer }) => ({ context: `Question: ${question}\nAnswer:`, choices, answer }),
});
