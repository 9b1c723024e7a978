import { z } from "@layerfold/core";
import { choiceNumber, defineTask } from "../task.js";

/** HellaSwag (Zellers et al. 2019, arXiv 1905.07830), zero-shot as `hellaswag` of lm-evaluation-harness, with its cleaning of WikiHow marks. */
export const hellaswag = defineTask({
  id: "hellaswag",
  summary: "how a scene goes on (HellaSwag)",
  row: z.object({
    activity_label: z.string(),
    ctx_a: z.string(),
    ctx_b: z.string(),
    endings: z.array(z.string()).min(2),
    // The hub has it as text.
    label: choiceNumber,
  }),
  item: ({ activity_label, ctx_a, ctx_b, endings, label }) => ({
    context: clean(`${activity_label}: ${ctx_a} ${capitalize(ctx_b)}`),
    choices: endings.map(clean),
    answer: label,
  }),
});

/** Python's str.capitalize: the first character large, the rest small. */
function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

function clean(text: string): string {
  return text
    .trim()
    .replaceAll(" [title]", ". ")
    .replace(/\[.*?\]/g, "")
    .replaceAll("  ", " ");
}
