import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import { element, escapeText, label, seriesClass, seriesColors, svgDocument, tones } from "./svg.js";

export interface CurvePoint {
  readonly x: number;
  readonly y: number;
  /** Half the height of the error bar, in units of y. */
  readonly error?: number;
  /** What the point says on hover. */
  readonly title: string;
}

export interface CurveSeries {
  readonly label: string;
  /** Index of its colour; series of one colour belong together. */
  readonly color: number;
  readonly dashed?: boolean;
  readonly points: readonly CurvePoint[];
}

export interface CurveOptions {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly CurveSeries[];
  readonly yScale?: "linear" | "log" | undefined;
  /** Values that the y axis must hold. */
  readonly yInclude?: readonly number[] | undefined;
  /** A horizontal line with a name, for instance chance. */
  readonly reference?: { readonly y: number; readonly label: string } | undefined;
  /** How a value of the y axis is written. */
  readonly yFormat?: ((value: number) => string) | undefined;
}

/** Lines with points over a common x axis, a legend below. Points that are not finite are left out, and the description says so. */
export function curveSvg(options: CurveOptions): string {
  const { title, xLabel, yLabel, reference, yScale = "linear", yFormat = String } = options;
  const plottable = ({ x, y }: CurvePoint) =>
    Number.isFinite(x) && Number.isFinite(y) && (yScale === "linear" || y > 0);
  const series = options.series.map((s) => ({
    ...s,
    points: s.points.filter(plottable).sort((a, b) => a.x - b.x),
  }));
  const all = series.flatMap((s) => s.points);
  const left = 62;
  const top = 40;
  const width = 430;
  const height = 250;

  const xs = all.map((p) => p.x);
  const x = scaleLinear([Math.min(0, ...xs), Math.max(1, ...xs)], [left, left + width]);
  const ys = [
    ...all.flatMap((p) => [p.y - (yScale === "log" ? 0 : (p.error ?? 0)), p.y + (p.error ?? 0)]),
    ...(options.yInclude ?? []),
    ...(reference ? [reference.y] : []),
  ];
  const y = yRange(ys, yScale).range([top + height, top]);

  const parts = [label(left, 20, title, { size: 14 })];
  for (const tick of yTicks(y, yScale)) {
    parts.push(gridLine(left, y(tick), left + width, y(tick)));
    parts.push(label(left - 8, y(tick) + 4, yFormat(tick), { anchor: "end", size: 11, tone: "soft" }));
  }
  for (const tick of x.ticks(Math.min(10, Math.max(...x.domain()) - Math.min(...x.domain())))) {
    if (!Number.isInteger(tick)) continue;
    parts.push(label(x(tick), top + height + 18, `${tick}`, { anchor: "middle", size: 11, tone: "soft" }));
  }
  parts.push(label(left + width / 2, top + height + 38, xLabel, { anchor: "middle", tone: "soft" }));
  const middle = top + height / 2;
  parts.push(
    label(14, middle, yLabel, { anchor: "middle", tone: "soft", transform: `rotate(-90 14 ${middle})` }),
  );
  if (reference) {
    parts.push(
      element("line", {
        x1: left,
        x2: left + width,
        y1: y(reference.y),
        y2: y(reference.y),
        class: "lf-outline",
        stroke: tones.soft.light,
        "stroke-dasharray": "2 4",
      }),
      label(left + 4, y(reference.y) - 5, reference.label, { size: 11, tone: "soft" }),
    );
  }
  for (const s of series) parts.push(drawSeries(s, x, y));
  const legend = drawLegend(series, left, top + height + 62, width);
  parts.push(legend.markup);
  const missing = options.series.reduce((sum, s) => sum + s.points.length, 0) - all.length;
  const description = `${yLabel} over ${xLabel}: ${series.map((s) => s.label).join(", ")}${missing > 0 ? `; ${missing} points that are not finite are left out` : ""}`;
  return svgDocument(
    { width: left + width + 20, height: legend.bottom + 6 },
    title,
    description,
    parts.join(""),
  );
}

type Scale = ReturnType<typeof scaleLinear<number>> | ReturnType<typeof scaleLog<number>>;

function yRange(values: readonly number[], kind: "linear" | "log"): Scale {
  const finite = values.filter((v) => Number.isFinite(v) && (kind === "linear" || v > 0));
  const low = finite.length > 0 ? Math.min(...finite) : kind === "log" ? 1 : 0;
  const high = finite.length > 0 ? Math.max(...finite) : 10;
  if (kind === "linear") {
    const margin = (high - low || 1) * 0.06;
    return scaleLinear()
      .domain([low - margin, high + margin])
      .nice(5);
  }
  // A tenth of the spread on either side, and never so little that all labels read the same.
  const spread = Math.max(high / low, 1.02) ** 0.08;
  return scaleLog().domain([low / spread, high * spread]);
}

/** At most eight ticks, spread over the axis whatever its length: powers of ten on a long log axis, finer steps on a shorter one. */
function yTicks(y: Scale, kind: "linear" | "log"): number[] {
  if (kind === "linear") return y.ticks(5);
  const [low, high] = y.domain();
  if (high / low < 2) return scaleLinear().domain([low, high]).ticks(5);
  const within = (steps: readonly number[]) =>
    Array.from({ length: 40 }, (_, i) => 10 ** (i - 20))
      .flatMap((decade) => steps.map((step) => step * decade))
      .filter((v) => v >= low && v <= high);
  const finest = [[1, 1.5, 2, 3, 4, 5, 7], [1, 2, 5], [1, 3], [1]]
    .map(within)
    .find((ticks) => ticks.length <= 8);
  return finest ?? within([1]).filter((_, i, all) => i % Math.ceil(all.length / 8) === 0);
}

function gridLine(x1: number, y1: number, x2: number, y2: number): string {
  return element("line", { x1, y1, x2, y2, class: "lf-line", stroke: tones.line.light });
}

function drawSeries({ points, color, dashed }: CurveSeries, x: Scale, y: Scale): string {
  const stroke = { class: seriesClass(color, "stroke"), stroke: seriesColors[color % seriesColors.length] };
  const fill = { class: seriesClass(color, "fill"), fill: seriesColors[color % seriesColors.length] };
  const path = line<CurvePoint>(
    (p) => x(p.x),
    (p) => y(p.y),
  ).digits(2)(points);
  const parts = [
    element("path", {
      d: path ?? "",
      fill: "none",
      ...stroke,
      "stroke-width": dashed ? 1.5 : 2.25,
      "stroke-dasharray": dashed ? "5 4" : undefined,
      "stroke-linejoin": "round",
    }),
  ];
  for (const p of points) {
    if (p.error) {
      const bar = { x1: x(p.x), x2: x(p.x), y1: y(p.y - p.error), y2: y(p.y + p.error) };
      parts.push(element("line", { ...bar, ...stroke, "stroke-width": 1, "stroke-opacity": "0.6" }));
    }
    const mark = dashed
      ? { ...stroke, class: `lf-plate ${stroke.class}`, fill: tones.plate.light, "stroke-width": 1.5, r: 3.5 }
      : { ...fill, r: 4.25 };
    parts.push(
      element("circle", { cx: x(p.x), cy: y(p.y), ...mark }, `<title>${escapeText(p.title)}</title>`),
    );
  }
  return parts.join("");
}

function drawLegend(series: readonly CurveSeries[], left: number, top: number, width: number) {
  let x = left;
  let y = top;
  const parts: string[] = [];
  for (const { label: name, color, dashed } of series) {
    const length = 34 + name.length * 6.4 + 16;
    if (x > left && x + length > left + width) {
      x = left;
      y += 19;
    }
    parts.push(
      element("line", {
        x1: x,
        x2: x + 24,
        y1: y - 4,
        y2: y - 4,
        class: seriesClass(color, "stroke"),
        stroke: seriesColors[color % seriesColors.length],
        "stroke-width": dashed ? 1.5 : 2.25,
        "stroke-dasharray": dashed ? "5 4" : undefined,
      }),
      label(x + 30, y, name, { size: 12 }),
    );
    x += length;
  }
  return { markup: parts.join(""), bottom: series.length > 0 ? y : top - 18 };
}
