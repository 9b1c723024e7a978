import { type CurvePoint, type CurveSeries, curveSvg } from "./curve-svg.js";
import { accuracyText, figure, percent, type ReportRow } from "./report-row.js";

/**
 * Quality against the number of layers removed: perplexity ratio on a log scale, and accuracy beside chance, each fold beside its
 * drop control. A figure that no row has gives no curve.
 */
export function qualityCurves(rows: readonly ReportRow[], chance: number | undefined): string[] {
  const curves: string[] = [];
  const xLabel = "layers removed";
  const perplexity = seriesOf(
    rows,
    (row) => row.perplexity_ratio,
    (row) => `perplexity × ${figure(row.perplexity_ratio!)}`,
  );
  if (perplexity.length > 0) {
    curves.push(
      curveSvg({
        title: "Perplexity, as a multiple of the dense model's",
        xLabel,
        yLabel: "perplexity ÷ dense (log scale)",
        yScale: "log",
        yInclude: [1],
        yFormat: (v) => `× ${v >= 1e4 ? v.toExponential(0) : Number(v.toPrecision(4))}`,
        series: perplexity,
      }),
    );
  }
  const accuracy = seriesOf(
    rows,
    (row) => row.accuracy,
    accuracyText,
    (row) => row.accuracy_stderr ?? undefined,
  );
  if (accuracy.length > 0) {
    curves.push(
      curveSvg({
        title: "Accuracy, ± one standard error",
        xLabel,
        yLabel: "accuracy",
        yFormat: (v) => percent(v, 0),
        reference: chance === undefined ? undefined : { y: chance, label: `chance ${percent(chance, 0)}` },
        series: accuracy,
      }),
    );
  }
  return curves;
}

/** A solid line for each method, from the dense model on, and a dashed one of the same colour for its control. */
function seriesOf(
  rows: readonly ReportRow[],
  value: (row: ReportRow) => number | null,
  say: (row: ReportRow) => string,
  error?: (row: ReportRow) => number | undefined,
): CurveSeries[] {
  const point = (row: ReportRow): CurvePoint[] => {
    const y = value(row);
    if (y === null) return [];
    const bar = error?.(row);
    const title = `${row.label.trim()}: ${say(row)}`;
    return [{ x: row.removed_layers.length, y, ...(bar !== undefined && { error: bar }), title }];
  };
  const dense = rows.filter((row) => row.control === null && row.removed_layers.length === 0).flatMap(point);
  const folds = rows.filter((row) => row.removed_layers.length > 0);
  const methods = [...new Set(folds.map((row) => row.method))];
  return methods.flatMap((method, color) => {
    const own = folds.filter((row) => row.method === method);
    const fold = own.filter((row) => row.control === null).flatMap(point);
    const control = own.filter((row) => row.control !== null).flatMap(point);
    return [
      { label: method, color, points: [...dense, ...fold] },
      {
        label: methods.length > 1 ? `${method}, merely dropped` : "merely dropped",
        color,
        dashed: true,
        points: [...dense, ...control],
      },
    ].filter(({ points }) => points.length > dense.length);
  });
}
