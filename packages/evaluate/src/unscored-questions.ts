import type { RunContext } from "@layerfold/core";

/** Says how many questions the model gave no finite score for an answer of; they count as answered wrongly. */
export function reportUnscored(
  unscored: number,
  asked: number,
  name = "questions",
  report?: RunContext["report"],
): void {
  if (unscored === 0) return;
  report?.({
    type: "diagnostic",
    severity: "warning",
    code: "QUESTIONS_NOT_FINITE",
    message: `${name}: to ${unscored} of ${asked} the model gives logits that are not finite; they count as answered wrongly`,
  });
}
