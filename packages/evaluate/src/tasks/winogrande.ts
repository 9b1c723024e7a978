import { z } from "@layerfold/core";
import { choiceNumber, defineTask } from "../task.js";

/**
 * WinoGrande (Sakaguchi et al. 2019, arXiv 1907.10641), zero-shot as `winogrande` of lm-evaluation-harness: each option stands in
 * the blank, and what is scored is the same rest of the sentence after it. Only `acc` has a meaning.
 */
export const winogrande = defineTask({
  id: "winogrande",
  summary: "whom a pronoun-like blank means (WinoGrande)",
  row: z.object({
    sentence: z.string().regex(/_/, "the sentence has no blank"),
    option1: z.string(),
    option2: z.string(),
    answer: choiceNumber,
  }),
  item: ({ sentence, option1, option2, answer }) => {
    const blank = sentence.indexOf("_");
    const rest = sentence.slice(blank + 1).trim();
    return {
      context: [option1, option2].map((option) => sentence.slice(0, blank) + option),
      choices: [rest, rest],
      answer: answer - 1,
    };
  },
});
