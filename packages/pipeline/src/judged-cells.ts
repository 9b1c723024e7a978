import type { TaskQuality } from "./evaluation/task-quality.js";
import type { ResultRow } from "./results.js";

/** Every text and task side by side, where there is more than one text or any task. */
export function judgedCells(
  rows: readonly ResultRow[],
): { readonly headings: readonly string[]; readonly rows: readonly (readonly string[])[] } | undefined {
  const { texts, tasks } = rows[0];
  if (texts.length < 2 && tasks.length === 0) return undefined;
  return {
    headings: ["", ...texts.map(({ text }) => text), ...tasks.map(({ task }) => task)],
    rows: rows.map((row) => [
      row.label,
      ...row.texts.map(
        ({ perplexity, perplexity_ratio: ratio }) =>
          `${perplexity.toPrecision(4)} (× ${ratio.toPrecision(4)})`,
      ),
      ...row.tasks.map(taskText),
    ]),
  };
}

/** `31.5 ± 3.3 %, by length 33.0 ± 3.3 %`; of a task without accuracies its figures by name. */
export function taskText({ acc, acc_stderr, acc_norm, acc_norm_stderr, figures = {} }: TaskQuality): string {
  const parts = Object.entries(figures).map(
    ([key, value]) => `${key.replace(/,none$/, "")} ${value.toPrecision(4)}`,
  );
  if (acc_norm !== null) parts.unshift(`by length ${accuracyText(acc_norm, acc_norm_stderr)} %`);
  if (acc !== null) parts.unshift(`${accuracyText(acc, acc_stderr)} %`);
  return parts.join(", ");
}

/** `31.5 ± 3.3`: in percent, with the standard error. */
export function accuracyText(value: number, error: number | null): string {
  return `${(100 * value).toFixed(1)} ± ${(100 * (error ?? 0)).toFixed(1)}`;
}
