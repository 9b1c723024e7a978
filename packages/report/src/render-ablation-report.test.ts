import { tensor } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { type AblationCell, renderAblationReport } from "./render-ablation-report.js";

const cell = (
  measure: string | null,
  strategy: string,
  removed: number,
  ratio: number,
  accuracy: number,
): AblationCell => ({
  measure,
  planner: "best-adjacent-pair",
  strategy,
  repair: null,
  removed,
  perplexity: 2 * ratio,
  perplexity_ratio: ratio,
  accuracy,
  accuracy_stderr: 0.02,
});
const data = {
  title: "grid",
  cells: [
    cell("npib", "drop", 2, 1.5, 0.6),
    cell("npib", "weighted", 2, 1.25, 0.5),
    cell("cosine", "drop", 2, 1.75, 0.7),
    cell(null, "drop", 4, 9, 0.25),
  ],
  dense: { accuracy: 0.8 },
  similarities: ["npib", "cosine"].map((measure) => ({
    measure,
    matrix: tensor(new Float64Array(9), [3, 3]),
  })),
  chance: 0.25,
};

describe("renderAblationReport", () => {
  const html = renderAblationReport(data);

  it("draws a heatmap per measure, and a chart per strategy for each of the two figures", () => {
    const names = [...html.matchAll(/<svg[^>]*aria-label="([^".]*)/g)].map(([, name]) => name);
    const facets = ["best-adjacent-pair · drop", "best-adjacent-pair · weighted"];
    expect(names).toEqual(["npib", "cosine", ...facets, ...facets]);
  });

  it("draws all charts of a figure to one scale", () => {
    // Every line starts at the dense model, × 1: the same height in every chart.
    const starts = [...html.matchAll(/cy="([\d.]+)"[^>]*><title>dense: × 1\.000/g)].map(([, y]) => y);
    expect(starts.length).toBe(4);
    expect(new Set(starts).size).toBe(1);
  });

  it("names the best cell at each depth by either figure, and lists every cell", () => {
    const rows = [...html.matchAll(/<tr>(<td>.*?)<\/tr>/g)].map(([, body]) =>
      body.replace(/<\/td><td>/g, "|").replace(/<\/?td>/g, ""),
    );
    expect(rows.slice(0, 4)).toEqual([
      "2|by perplexity|npib|best-adjacent-pair · weighted|2.500|× 1.250|50.0 ± 2.0 %",
      "2|by accuracy|cosine|best-adjacent-pair · drop|3.500|× 1.750|70.0 ± 2.0 %",
      "4|by perplexity|–|best-adjacent-pair · drop|18.000|× 9.000|25.0 ± 2.0 %",
      "4|by accuracy|–|best-adjacent-pair · drop|18.000|× 9.000|25.0 ± 2.0 %",
    ]);
    expect(rows).toHaveLength(8);
  });

  it("does without what was not measured", () => {
    const unmeasured = data.cells.map((c) => ({ ...c, accuracy: null, accuracy_stderr: null }));
    const html = renderAblationReport({ title: "grid", cells: unmeasured, similarities: [] });
    expect(html.match(/<svg/g)).toHaveLength(2);
    expect(html).not.toContain("NaN");
    expect(html).not.toContain("by accuracy");
  });
});
