import { z } from "@layerfold/core";
import { choiceNumber, defineTask } from "../task.js";

/** PIQA (Bisk et al. 2020, arXiv 1911.11641), zero-shot as `piqa` of lm-evaluation-harness. */
export const piqa = defineTask({
  id: "piqa",
  summary: "how to do everyday things (PIQA)",
  row: z.object({
    goal: z.string(),
    sol1: z.string(),
    sol2: z.string(),
    label: choiceNumber,
  }),
  item: ({ goal, sol1, sol2, label }) => ({
    context: `Question: ${goal}\nAnswer:`,
    choices: [sol1, sol2],
    answer: label,
  }),
});
