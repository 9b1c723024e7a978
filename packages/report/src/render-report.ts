import { contiguousData, type Floats, type Matrix, type MergePlan } from "@layerfold/core";
import { facts } from "./facts.js";
import { heatmapSvg } from "./heatmap-svg.js";
import { htmlPage, meaning, opening, section } from "./html-page.js";
import { planSvg } from "./plan-svg.js";
import { qualityCurves } from "./quality-curves.js";
import {
  accuracyText,
  figure,
  orDash,
  percent,
  type ReportRow,
  reportCells,
  reportHeadings,
} from "./report-row.js";
import { escapeText } from "./svg.js";

export interface ReportData {
  readonly title: string;
  readonly subtitle?: string | undefined;
  /** The dense model (no layer removed), folds, and their controls. */
  readonly rows: readonly ReportRow[];
  readonly similarity?: { readonly measure: string; readonly matrix: Matrix } | undefined;
  readonly plans?: readonly { readonly label: string; readonly plan: MergePlan }[] | undefined;
  /** Accuracy of guessing, 0 … 1. */
  readonly chance?: number | undefined;
  /** Every text and task that the models were judged on, where there are several: the first cell of a row names its model. */
  readonly judged?:
    | { readonly headings: readonly string[]; readonly rows: readonly (readonly string[])[] }
    | undefined;
  /** What it takes to repeat the run; any JSON. */
  readonly manifest?: Readonly<Record<string, unknown>> | undefined;
  /** What the reader must know before trusting the figures. */
  readonly notes?: readonly string[] | undefined;
}

/**
 * One HTML file that needs nothing beside itself: no script, no request. Light and dark, readable on paper and by screen readers;
 * every text is escaped.
 */
export function renderReport(data: ReportData): string {
  const { title, rows, similarity, plans = [], chance, judged, manifest } = data;
  const curves = qualityCurves(rows, chance);
  return htmlPage(title, [
    opening(data),
    cards(rows),
    section(
      "Results",
      "Every fold beside its control: the same groups of layers, each merely cut down to its first. What a fold is worth is what it gains over that.",
      resultTable(rows),
    ),
    judged &&
      section(
        "Every text and task",
        "Perplexity with its ratio to the dense model's; accuracy with its standard error, and by length where the benchmark has it.",
        plainTable(judged.headings, judged.rows),
      ),
    curves.length > 0 &&
      section(
        "Quality against layers removed",
        "Hover over a point for its figures.",
        `<div class="figures">${curves.join("")}</div>`,
      ),
    plans.length > 0 &&
      section(
        "Which layers fold into which",
        "Above the dense model's layers, below the layers that remain. Dashed boxes are dropped; coloured groups become one layer.",
        `<div class="plans">${plans.map(({ label, plan }) => planSvg(plan, label)).join("")}</div>`,
      ),
    similarity &&
      section(
        "How alike the layers are",
        `${similarity.measure} between every two layers, higher = more alike. Hover over a cell for its value; the diagonal is left out of the colours.`,
        `<div class="figures">${heatmapSvg(similarity.matrix, { title: similarity.measure })}</div>${matrixTable(similarity.matrix)}`,
      ),
    manifest && section("This run", "What it takes to repeat it.", facts(manifest)),
    meaning,
  ]);
}

const isDense = (row: ReportRow) => row.control === null && row.removed_layers.length === 0;
const controlOf = (rows: readonly ReportRow[], id: string) => rows.find((row) => row.control === id);

/** The folds at a glance; with more than a few, the table says it better. */
function cards(rows: readonly ReportRow[]): string | false {
  const folds = rows.filter((row) => row.control === null && !isDense(row));
  if (folds.length === 0 || folds.length > 4) return false;
  const dense = rows.find(isDense);
  const card = (row: ReportRow) => {
    const control = controlOf(rows, row.id);
    const lines: [string, string][] = [];
    if (row.perplexity_ratio !== null && control) {
      lines.push(["merely dropped", orDash(control.perplexity_ratio, (x) => `× ${figure(x)}`)]);
    }
    if (row.accuracy !== null) {
      lines.push(["accuracy", accuracyText(row)]);
      if (control) lines.push(["merely dropped", accuracyText(control)]);
      if (dense) lines.push(["dense", accuracyText(dense)]);
    }
    const big = row.perplexity_ratio === null ? accuracyText(row) : `× ${figure(row.perplexity_ratio)}`;
    const small = row.perplexity_ratio === null ? "accuracy" : "perplexity";
    return `<div class="card"><div class="what">${row.removed_layers.length} of ${row.num_hidden_layers + row.removed_layers.length} layers gone · ${percent(row.parameter_ratio)} of parameters</div><div class="big">${escapeText(big)} <small>${small}</small></div><dl>${lines.map(([name, value]) => `<dt>${name}</dt><dd>${escapeText(value)}</dd>`).join("")}</dl></div>`;
  };
  return `<div class="cards">${folds.map(card).join("")}</div>`;
}

const headings = ["model", "layers", ...reportHeadings.slice(1)];

function resultTable(rows: readonly ReportRow[]): string {
  const listed = rows.filter((row) => row.control === null || !rows.some(({ id }) => id === row.control));
  const ordered = listed.flatMap((row) => [row, ...rows.filter(({ control }) => control === row.id)]);
  const body = ordered.map((row) => {
    const kind = isDense(row) ? "dense" : row.control === null ? "fold" : "control";
    const how = kind === "fold" ? [row.planner, row.strategy, row.repair].filter(Boolean).join(" · ") : "";
    const cells = [layerStrip(row), ...reportCells(row).slice(1)];
    const head = `${escapeText(row.label.trim())}${how ? `<small>${escapeText(how)}</small>` : ""}`;
    return `<tr class="${kind}"><th scope="row">${head}</th>${cells.map((c) => `<td>${c}</td>`).join("")}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${headings.map((h) => `<th scope="col">${h}</th>`).join("")}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}

function plainTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = headings.map((h) => `<th scope="col">${escapeText(h)}</th>`).join("");
  const body = rows.map(([name, ...cells]) => {
    const rest = cells.map((cell) => `<td>${escapeText(cell)}</td>`).join("");
    return `<tr><th scope="row">${escapeText(name.trim())}</th>${rest}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}

/** The model's layers as a row of ticks, the removed ones hollow. */
function layerStrip({ removed_layers, num_hidden_layers }: ReportRow): string {
  const gone = new Set(removed_layers);
  const count = num_hidden_layers + gone.size;
  const says = gone.size === 0 ? `all ${count} layers` : `without layers ${[...gone].join(", ")}`;
  if (count > 48) return `<span title="${says}">${num_hidden_layers}</span>`;
  const ticks = Array.from({ length: count }, (_, l) => (gone.has(l) ? '<i class="gone"></i>' : "<i></i>"));
  return `<span class="strip" role="img" title="${says}" aria-label="${says}">${ticks.join("")}</span>`;
}

/** The heatmap's numbers, for those who cannot or will not hover. */
function matrixTable(matrix: Matrix): string {
  const [rows, columns] = matrix.shape;
  const values = contiguousData<Floats>(matrix);
  const indices = Array.from({ length: columns }, (_, j) => j);
  const head = indices.map((j) => `<th scope="col">${j}</th>`).join("");
  const body = Array.from({ length: rows }, (_, i) => {
    const cells = indices.map((j) => `<td>${Number(values[i * columns + j].toPrecision(4))}</td>`);
    return `<tr><th scope="row">${i}</th>${cells.join("")}</tr>`;
  });
  return `<details><summary>The values as a table</summary><div class="scroll"><table><thead><tr><th scope="col">layer</th>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div></details>`;
}
