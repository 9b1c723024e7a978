import type { GateVerdict, Interval } from "@layerfold/evaluate";
import { markdownTable } from "../markdown-table.js";
import type { ResultComparison } from "../stages/compare-results.js";
import type { ComparedFigure } from "./compared-figure.js";

/** A comparison for people: the gate, the figures, and what the models generate. */
export function comparisonMarkdown({ models, figures, generations, gate }: ResultComparison): string {
  const [first, ...others] = models.map(({ name }) => name);
  const parts = [`# ${others.join(", ")} against ${first}\n`];
  if (gate) {
    const rows = gate.verdicts.map((verdict) => [
      verdict.model,
      `\`${verdict.condition}\``,
      foundText(verdict),
      verdict.passed ? "holds" : "**broken**",
    ]);
    parts.push(`## Gate: ${gate.passed ? "holds" : "broken"}\n`);
    parts.push(markdownTable(["model", "condition", "found", ""], rows));
  }
  if (figures.length > 0) {
    const rows = figures.flatMap((figure) => figureRows(figure, others));
    const head = [
      "figure",
      "over",
      first,
      "model",
      "its figure",
      "difference, 95 %",
      "ratio, 95 %",
      "gained / lost",
      "p",
    ];
    parts.push("## Figures\n", markdownTable(head, rows));
    parts.push(
      "Of right answers: McNemar's exact p-value, Newcombe's interval, and how many documents one model alone answered rightly. All else: paired bootstrap, 10,000 draws.\n",
    );
  }
  if (generations.length > 0) {
    parts.push("## Generated\n");
    const rows = generations.map(({ prompt, continuations }) => [prompt, ...continuations]);
    parts.push(markdownTable(["prompt", first, ...others], rows));
  }
  return parts.join("\n");
}

function figureRows(figure: ComparedFigure, names: readonly string[]): string[][] {
  const better = figure.higher_is_better === null ? "" : figure.higher_is_better ? " ↑" : " ↓";
  return figure.others.map(({ value, difference, ratio, answers }, i) => [
    `${figure.figure}${better}`,
    `${figure.count} ${figure.unit}`,
    figure.first === null ? "" : figureText(figure.first),
    names[i],
    figureText(value),
    difference ? intervalText(difference, signed) : "",
    ratio ? intervalText(ratio, figureText) : "",
    answers ? `${answers.gained} / ${answers.lost}` : "",
    answers ? pText(answers.p_value) : "",
  ]);
}

/** What a condition was held against. */
export function foundText({ compared, found }: Pick<GateVerdict, "compared" | "found">): string {
  if (compared === "difference") return `${signed(found)}d`;
  return `${figureText(found)}${compared === "ratio" ? "x" : ""}`;
}

function intervalText({ value, low, high }: Interval, print: (value: number) => string): string {
  return low === null || high === null ? print(value) : `${print(value)} (${print(low)} … ${print(high)})`;
}

function figureText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : "∞";
  return Math.abs(value) >= 100 ? value.toPrecision(6) : value.toFixed(4);
}

function signed(value: number): string {
  if (Number.isNaN(value)) return "not a number";
  return `${value < 0 ? "−" : "+"}${figureText(Math.abs(value))}`;
}

function pText(p: number): string {
  return p < 0.0001 ? p.toExponential(1) : p.toFixed(4);
}
