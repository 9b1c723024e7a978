import type { Matrix } from "@layerfold/core";
import { type CurveSeries, curveSvg } from "./curve-svg.js";
import { facts } from "./facts.js";
import { heatmapSvg } from "./heatmap-svg.js";
import { htmlPage, meaning, opening, section } from "./html-page.js";
import { figure, orDash, percent } from "./report-row.js";
import { escapeText } from "./svg.js";

/** One cell of an ablation grid. What was not measured is null. */
export interface AblationCell {
  /** Null where the planner looks at no measure. */
  readonly measure: string | null;
  readonly planner: string;
  readonly strategy: string;
  readonly repair: string | null;
  /** Layers removed, how many. */
  readonly removed: number;
  readonly perplexity: number | null;
  readonly perplexity_ratio: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
}

export interface AblationData {
  readonly title: string;
  readonly subtitle?: string | undefined;
  readonly cells: readonly AblationCell[];
  readonly dense?: { readonly accuracy: number | null } | undefined;
  /** One matrix per measure. */
  readonly similarities: readonly { readonly measure: string; readonly matrix: Matrix }[];
  readonly chance?: number | undefined;
  readonly manifest?: Readonly<Record<string, unknown>> | undefined;
  readonly notes?: readonly string[] | undefined;
}

/**
 * An ablation grid as one self-contained HTML file, after arXiv 2406.16330: a heatmap per measure (its Figure 5) and quality against
 * layers removed, a line per measure, a chart per planner, strategy and repair, all to one scale (its Figure 3).
 */
export function renderAblationReport(data: AblationData): string {
  const { title, cells, similarities, manifest } = data;
  return htmlPage(title, [
    opening(data),
    cells.length > 0 &&
      section(
        "The best at each depth",
        "Over all measures, planners, strategies and repairs. Picked on the same data that they are shown on: expect a little less elsewhere.",
        bestTable(cells),
      ),
    similarities.length > 0 &&
      section(
        "How alike the layers are, by each measure",
        "Higher = more alike; each heatmap has its own scale, its diagonal left out. Hover over a cell for its value.",
        `<div class="figures small">${similarities.map(({ measure, matrix }) => heatmapSvg(matrix, { title: measure, size: 260 })).join("")}</div>`,
      ),
    ...charts(data),
    cells.length > 0 && section("Every cell", "As in the table files beside this report.", everyCell(cells)),
    manifest && section("This run", "What it takes to repeat it.", facts(manifest)),
    meaning,
  ]);
}

/** The two figures that cells have: how they are plotted, and which is better. */
const metrics = [
  {
    heading: "Perplexity against layers removed",
    yLabel: "perplexity ÷ dense (log scale)",
    yScale: "log",
    value: (cell: AblationCell) => cell.perplexity_ratio,
    error: (_: AblationCell): number | undefined => undefined,
    show: (value: number) => `× ${figure(value)}`,
    tick: (value: number) => `× ${value >= 1e4 ? value.toExponential(0) : Number(value.toPrecision(4))}`,
    better: (a: number, b: number) => a - b,
  },
  {
    heading: "Accuracy against layers removed",
    yLabel: "accuracy",
    yScale: "linear",
    value: (cell: AblationCell) => cell.accuracy,
    error: (cell: AblationCell) => cell.accuracy_stderr ?? undefined,
    show: (value: number) => percent(value),
    tick: (value: number) => percent(value, 0),
    better: (a: number, b: number) => b - a,
  },
] as const;

const ways = (cell: AblationCell) => [cell.planner, cell.strategy, cell.repair].filter(Boolean).join(" · ");

function charts({ cells, dense, chance }: AblationData): string[] {
  const measures = [...new Set(cells.map(({ measure }) => measure ?? "no measure"))];
  const facets = [...new Set(cells.map(ways))];
  return metrics.flatMap((metric) => {
    const values = cells
      .flatMap((cell) => {
        const value = metric.value(cell);
        const error = metric.error(cell) ?? 0;
        return value === null ? [] : [value - error, value + error];
      })
      .filter(Number.isFinite);
    if (values.length === 0) return [];
    const origin = metric.yScale === "log" ? 1 : dense?.accuracy;
    const all = typeof origin === "number" ? [...values, origin] : values;
    const drawn = facets.map((facet) => {
      const series = measures.flatMap((measure, color): CurveSeries[] => {
        const own = cells.filter(
          (cell) => ways(cell) === facet && (cell.measure ?? "no measure") === measure,
        );
        const points = own.flatMap((cell) => {
          const y = metric.value(cell);
          if (y === null) return [];
          const title = `${measure}, ${cell.removed} layers removed: ${metric.show(y)}`;
          return [{ x: cell.removed, y, error: metric.error(cell), title }];
        });
        if (points.length === 0) return [];
        const start =
          typeof origin === "number" ? [{ x: 0, y: origin, title: `dense: ${metric.show(origin)}` }] : [];
        return [{ label: measure, color, points: [...start, ...points] }];
      });
      return curveSvg({
        title: facet,
        xLabel: "layers removed",
        yLabel: metric.yLabel,
        yScale: metric.yScale,
        yFormat: metric.tick,
        // One scale for all charts, or they could not be compared.
        yInclude: [Math.min(...all), Math.max(...all)],
        reference:
          metric.yScale === "linear" && chance !== undefined
            ? { y: chance, label: `chance ${percent(chance, 0)}` }
            : undefined,
        series,
      });
    });
    const lead =
      "A chart per planner and strategy, a line per measure, all to one scale. Hover over a point for its figures.";
    return [section(metric.heading, lead, `<div class="figures">${drawn.join("")}</div>`)];
  });
}

function bestTable(cells: readonly AblationCell[]): string {
  const depths = [...new Set(cells.map(({ removed }) => removed))].sort((a, b) => a - b);
  const rows = depths.flatMap((removed) =>
    metrics.flatMap((metric) => {
      const ranked = cells
        .filter((cell) => cell.removed === removed && Number.isFinite(metric.value(cell) ?? Number.NaN))
        .sort((a, b) => metric.better(metric.value(a)!, metric.value(b)!));
      return ranked.length === 0
        ? []
        : [[`${removed}`, `by ${metric.yLabel.split(" ")[0]}`, ...cellTexts(ranked[0])]];
    }),
  );
  return table(["removed", "best", ...cellHeadings], rows);
}

function everyCell(cells: readonly AblationCell[]): string {
  const rows = cells.map((cell) => [`${cell.removed}`, ...cellTexts(cell)]);
  return `<details><summary>${cells.length} cells</summary>${table(["removed", ...cellHeadings], rows)}</details>`;
}

const cellHeadings = ["measure", "how", "perplexity", "÷ dense", "accuracy"];

function cellTexts(cell: AblationCell): string[] {
  const { measure, perplexity, perplexity_ratio, accuracy, accuracy_stderr } = cell;
  const error = accuracy_stderr === null ? "" : ` ± ${(accuracy_stderr * 100).toFixed(1)}`;
  return [
    measure ?? "–",
    ways(cell),
    orDash(perplexity, figure),
    orDash(perplexity_ratio, (x) => `× ${figure(x)}`),
    orDash(accuracy, (a) => `${(a * 100).toFixed(1)}${error} %`),
  ];
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = headings.map((text) => `<th scope="col">${escapeText(text)}</th>`).join("");
  const body = rows.map((row) => `<tr>${row.map((text) => `<td>${escapeText(text)}</td>`).join("")}</tr>`);
  return `<div class="scroll"><table class="words"><thead><tr>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}
