import { contiguousData, type Floats, type Matrix, matrixSize } from "@layerfold/core";
import { scaleLinear } from "d3-scale";
import { interpolateViridis } from "d3-scale-chromatic";
import { element, escapeText, label, svgDocument, tones } from "./svg.js";

export interface HeatmapOptions {
  readonly title: string;
  /** What rows and columns are; default "layer". */
  readonly axis?: string;
  /** Values at the ends of the colour scale; default the smallest and largest off the diagonal. */
  readonly domain?: readonly [number, number];
  /** Side of the square of cells; default 420. */
  readonly size?: number;
}

/**
 * A square matrix as coloured cells; each cell tells its value on hover. The diagonal is left out of the colour scale, where a
 * measure's 1 would drown everything else. Values that are not finite are drawn as empty outlines.
 */
export function heatmapSvg(matrix: Matrix, options: HeatmapOptions): string {
  const { rows, columns } = matrixSize(matrix, "a heatmap's matrix");
  const { title, axis = "layer", size = 420 } = options;
  const values = contiguousData<Floats>(matrix);
  const [low, high] = options.domain ?? offDiagonalRange(values, rows, columns);
  const shade = (value: number) => interpolateViridis(high > low ? (value - low) / (high - low) : 0.5);
  const show = numberFormat(low, high);

  const left = 46;
  const top = 36;
  const cell = size / Math.max(rows, columns);
  // Neighbouring cells overlap by a hair, or anti-aliasing draws a grid between them.
  const side = cell + (cell < 6 ? 0.3 : -0.6);
  const parts = [label(left, 20, title, { size: 14 })];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const value = values[i * columns + j];
      const finite = Number.isFinite(value);
      const own = i === j && rows === columns && !options.domain;
      const outside = own && (value > high || value < low);
      const name = `${axis} ${i} – ${axis} ${j}: ${finite ? show(value) : value}`;
      const shared = { x: left + j * cell, y: top + i * cell, width: side, height: side };
      const paint = !finite
        ? { class: "lf-outline", fill: "none", stroke: tones.soft.light, "stroke-width": 0.5 }
        : outside
          ? { class: "lf-plate", fill: tones.plate.light }
          : { fill: shade(value) };
      parts.push(element("rect", { ...shared, ...paint }, `<title>${escapeText(name)}</title>`));
    }
  }
  const step = Math.max(1, Math.ceil(18 / cell));
  for (let i = 0; i < columns; i += step) {
    parts.push(
      label(left + (i + 0.5) * cell, top + rows * cell + 15, `${i}`, {
        anchor: "middle",
        size: 10.5,
        tone: "soft",
      }),
    );
  }
  for (let i = 0; i < rows; i += step) {
    parts.push(
      label(left - 7, top + (i + 0.5) * cell + 3.5, `${i}`, { anchor: "end", size: 10.5, tone: "soft" }),
    );
  }
  const height = top + rows * cell + 44;
  parts.push(
    label(left + (columns * cell) / 2, height - 10, axis, { anchor: "middle", size: 12, tone: "soft" }),
  );
  const middle = top + (rows * cell) / 2;
  parts.push(
    label(14, middle, axis, {
      anchor: "middle",
      size: 12,
      tone: "soft",
      transform: `rotate(-90 14 ${middle})`,
    }),
  );
  parts.push(colorBar(left + columns * cell + 22, top, rows * cell, [low, high], show));
  const description = `${rows} by ${columns} values from ${show(low)} to ${show(high)}${options.domain ? "" : " off the diagonal"}`;
  return svgDocument({ width: left + columns * cell + 84, height }, title, description, parts.join(""));
}

function offDiagonalRange(values: ArrayLike<number>, rows: number, columns: number): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const value = values[i * columns + j];
      if (!Number.isFinite(value) || (i === j && rows === columns && rows > 1)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low <= high ? [low, high] : [0, 1];
}

/** Enough digits to tell the ends of the range apart, three at least. */
function numberFormat(low: number, high: number): (value: number) => string {
  const span = high - low;
  const digits = span > 0 ? Math.min(8, Math.max(3, 2 - Math.floor(Math.log10(span)))) : 3;
  const largest = Math.max(Math.abs(low), Math.abs(high));
  return (value) => (largest >= 1e5 ? value.toExponential(3) : value.toFixed(largest >= 100 ? 1 : digits));
}

function colorBar(
  x: number,
  y: number,
  height: number,
  domain: readonly [number, number],
  show: (value: number) => string,
): string {
  const steps = 48;
  const bands = Array.from({ length: steps }, (_, i) =>
    element("rect", {
      x,
      y: y + (i * height) / steps,
      width: 12,
      height: height / steps + 0.4,
      fill: interpolateViridis(1 - (i + 0.5) / steps),
    }),
  );
  const [low, high] = domain;
  if (!(high > low))
    return bands.join("") + label(x + 17, y + height / 2 + 4, show(low), { size: 10.5, tone: "soft" });
  const position = scaleLinear([low, high], [y + height, y]);
  const ticks = position
    .ticks(5)
    .map((value) =>
      label(x + 17, position(value) + 3.5, position.tickFormat(5)(value), { size: 10.5, tone: "soft" }),
    );
  return bands.join("") + ticks.join("");
}
