import { reportBegun } from "@layerfold/checkpoint";
import type { RunContext } from "@layerfold/core";
import type { BatchOptions } from "./batch-budget.js";

export interface QuestionOptions extends BatchOptions {
  /** Most tokens that the model is shown at once; what is longer loses its beginning, and is counted. Default: no limit. */
  readonly contextLength?: number | undefined;
  /** What reports call the questions; default "questions". */
  readonly name?: string | undefined;
}

/** The last tokens, at most so many. */
export function cutLeft(ids: readonly number[], most = Number.POSITIVE_INFINITY): readonly number[] {
  return ids.length > most ? ids.slice(ids.length - most) : ids;
}

/** Says how many questions were not asked as they stand. */
export function reportPrompts(
  { asked, begun, cut }: { readonly asked: number; readonly begun: number; readonly cut: number },
  { contextLength, name = "questions" }: QuestionOptions,
  report: RunContext["report"],
): void {
  reportBegun(begun, `${asked}`, name, report);
  if (cut > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "QUESTIONS_CUT",
      message: `${name}: ${cut} of ${asked} are longer than the ${contextLength} tokens that the model sees at once and lost their beginning`,
    });
  }
}
