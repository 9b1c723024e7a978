import type { TaskQuality } from "../evaluation/task-quality.js";
import { accuracyText, taskText } from "../judged-cells.js";
import type { Manifest } from "../manifest.js";
import { markdownTable } from "../markdown-table.js";
import type { Quality } from "../stages/measure.js";
import type { QualityPlan, QualityRow, QualityTable } from "./render-quality.js";

/** The quality table for people, as Markdown. */
export function qualityMarkdown(name: string, table: QualityTable, manifest: Manifest): string {
  const { dense, rows, plans, notes } = table;
  const { texts, tasks, accuracy } = dense.quality;
  const several = texts.length > 1;
  const head = [
    "preset",
    "layers removed",
    "",
    "strategy",
    "repair",
    "merged groups",
    "parameters removed",
    ...texts.map(({ text }) => `${text} ÷ dense`),
    ...(several ? ["geometric mean ÷ dense"] : []),
    ...(texts.length > 0 ? ["KL to dense"] : []),
    ...(accuracy === null ? [] : ["questions %"]),
    ...tasks.map(({ task }) => `${task} %`),
    ...(tasks.length > 1 ? ["tasks, mean % of dense"] : []),
    "seconds",
    "peak MiB",
  ];
  const cells = (row: QualityRow) => {
    const { quality } = row;
    const base = dense.quality;
    return [
      row.preset,
      `${row.removed}`,
      row.own ? `**${row.variant}**` : row.variant,
      row.strategy ?? "",
      row.repair ?? "",
      `${row.merged_groups}`,
      (100 * row.parameter_ratio).toFixed(1),
      ...ratios(quality, base).map(figure),
      ...(several ? [figure(geometricMean(ratios(quality, base)))] : []),
      ...(texts.length > 0 ? [quality.kl_to_dense === null ? "" : figure(quality.kl_to_dense)] : []),
      ...(accuracy === null ? [] : [accuracyText(quality.accuracy ?? 0, quality.accuracy_stderr)]),
      ...quality.tasks.map((task) => {
        const accuracy = headline(task);
        return accuracy ? accuracyText(accuracy.value, accuracy.error) : taskText(task);
      }),
      ...(tasks.length > 1 ? [(100 * (meanAccuracy(quality) / meanAccuracy(base))).toFixed(1)] : []),
      row.seconds.toFixed(1),
      (row.peak_rss_bytes / 2 ** 20).toFixed(0),
    ];
  };
  return `# Quality of folded ${name}

Every plan is carried out in four ways; **bold** is what the preset itself does. A group counts as merged only where two or more of its
layers have weight. Perplexities are divided by the dense model's (${texts.map(({ text, perplexity, tokens }) => `${text}: ${perplexity.toFixed(3)} over ${tokens} tokens`).join("; ") || "none measured"}).
Benchmarks: accuracy by length where there is one, else accuracy, ± standard error. Seconds and peak memory are those of folding and repairing.

${notes.join("\n")}

${markdownTable(head, [dense, ...rows].map(cells))}
## Does merging beat dropping?

Merged + repair minus dropped + repair: difference of the loss, nats per token, with its 95 % confidence interval (bootstrap over the same
windows of both). Below zero merging is better; the interval tells whether that is more than chance.

${markdownTable(
  ["preset", "layers removed", "text", "difference", "95 % interval", "says"],
  plans.flatMap(mergingRows),
)}
## Plans

${markdownTable(
  ["preset", "layers removed", "groups of more than one layer", "seconds to plan"],
  plans.map(({ preset, removed, plan, seconds }) => [
    preset,
    `${removed}`,
    plan.groups
      .filter(({ layers }) => layers.length > 1)
      .map(({ layers }) => layers.join("+"))
      .join(", "),
    seconds.toFixed(1),
  ]),
)}
## Manifest

\`\`\`json
${JSON.stringify(manifest, null, 2)}
\`\`\`
`;
}

function mergingRows({ preset, removed, merging }: QualityPlan): string[][] {
  if (!merging) return [[preset, `${removed}`, "", "", "", "nothing merges"]];
  return merging.map(({ text, difference, low, high }) => [
    preset,
    `${removed}`,
    text,
    signed(difference),
    `${signed(low)} … ${signed(high)}`,
    high < 0 ? "merging is better" : low > 0 ? "dropping is better" : "no difference seen",
  ]);
}

/** Accuracy by length where there is one; of generated answers the share that matches exactly. */
function headline({ acc, acc_stderr, acc_norm, acc_norm_stderr, figures = {} }: TaskQuality) {
  if (acc_norm !== null) return { value: acc_norm, error: acc_norm_stderr };
  if (acc !== null) return { value: acc, error: acc_stderr };
  const [match] = Object.entries(figures).filter(([key]) => key.startsWith("exact_match,"));
  return match && { value: match[1], error: null };
}

function ratios({ texts }: Quality, dense: Quality): number[] {
  return texts.map(({ perplexity }, i) => perplexity / dense.texts[i].perplexity);
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

function meanAccuracy({ tasks }: Quality): number {
  const accuracies = tasks.flatMap((task) => headline(task)?.value ?? []);
  return accuracies.reduce((sum, value) => sum + value, 0) / accuracies.length;
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return `${value}`;
  return value >= 100 ? value.toPrecision(4) : value.toFixed(3);
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
}
