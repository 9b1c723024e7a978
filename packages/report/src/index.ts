export { type CurveOptions, type CurvePoint, type CurveSeries, curveSvg } from "./curve-svg.js";
export { type HeatmapOptions, heatmapSvg } from "./heatmap-svg.js";
export { planSvg } from "./plan-svg.js";
export { type AblationCell, type AblationData, renderAblationReport } from "./render-ablation-report.js";
export { type ReportData, renderReport } from "./render-report.js";
export { type ReportRow, reportCells, reportHeadings } from "./report-row.js";
