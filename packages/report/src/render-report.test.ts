import { dropPlan, tensor } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { renderReport } from "./render-report.js";
import type { ReportRow } from "./report-row.js";

const dense: ReportRow = {
  id: "dense",
  label: "dense",
  method: "dense",
  planner: null,
  strategy: null,
  repair: null,
  removed_layers: [],
  num_hidden_layers: 4,
  layer_ratio: 0,
  parameter_ratio: 0,
  perplexity: 2,
  perplexity_ratio: 1,
  kl_to_dense: null,
  accuracy: 0.8,
  accuracy_stderr: 0.02,
  control: null,
};
const fold: ReportRow = {
  ...dense,
  id: "mka-3",
  label: "mka, 3 layers",
  method: "mka",
  planner: "best-adjacent-pair",
  strategy: "weighted",
  removed_layers: [2],
  num_hidden_layers: 3,
  layer_ratio: 0.25,
  parameter_ratio: 0.24,
  perplexity: 3,
  perplexity_ratio: 1.5,
  kl_to_dense: 0.321,
  accuracy: 0.7,
  accuracy_stderr: 0.023,
};
const control: ReportRow = {
  ...fold,
  id: "mka-3-control",
  label: "  merely dropped",
  perplexity: 8,
  perplexity_ratio: 4,
  control: "mka-3",
};

const full = {
  title: "mka on <foldling> & co",
  rows: [dense, control, fold],
  similarity: { measure: "npib", matrix: tensor(new Float64Array(16).fill(0.5), [4, 4]) },
  plans: [{ label: "3 layers", plan: dropPlan(4, [0, 1, 3]) }],
  chance: 0.25,
  judged: { headings: ["", "a<b.txt"], rows: [["dense", "2.000 (× 1.000)"]] },
  manifest: {
    seed: 7,
    model: { sha256: "ab".repeat(32) },
    plugins: [{ kind: "planner", id: "p", options: { a: "<" } }],
  },
  notes: ["<script>alert(1)</script>"],
};

describe("renderReport", () => {
  const html = renderReport(full);

  it("needs nothing beside itself: no script, no address to fetch", () => {
    expect(html).not.toMatch(/<(script|link|img|iframe|object)\b/i);
    expect(html).not.toMatch(/\b(src|href)=/i);
    expect(html).not.toMatch(/@import|url\(/i);
    // The SVG name space is a name, never fetched.
    expect(
      [...html.matchAll(/https?:\/\/[^"]+/g)].every(([url]) => url === "http://www.w3.org/2000/svg"),
    ).toBe(true);
  });

  it("is well-formed: every element that opens closes, in order", () => {
    const open: string[] = [];
    for (const [, slash, name, rest] of html.matchAll(/<(\/?)([a-z][a-z0-9]*)([^>]*)>/gi)) {
      if (["meta", "br"].includes(name) || rest.endsWith("/")) continue;
      if (slash) expect(open.pop()).toBe(name);
      else open.push(name);
    }
    expect(open).toEqual([]);
  });

  it("shows every text and task where there are several", () => {
    expect(html).toContain('<th scope="row">dense</th><td>2.000 (× 1.000)</td>');
    expect(html).toContain("a&#60;b.txt");
    expect(renderReport({ ...full, judged: undefined })).not.toContain("Every text and task");
  });

  it("escapes every text", () => {
    expect(html).toContain("<title>mka on &#60;foldling&#62; &#38; co</title>");
    expect(html).toContain("&#60;script&#62;alert(1)");
    expect(html).toContain("{&#34;a&#34;:&#34;&#60;&#34;}");
  });

  it("puts each fold before its control, with all its figures", () => {
    const rows = [...html.matchAll(/<tr class="(\w+)">(.*?)<\/tr>/g)].map(([, kind, body]) => ({
      kind,
      body,
    }));
    expect(rows.map(({ kind }) => kind)).toEqual(["dense", "fold", "control"]);
    for (const figure of [
      "25.0 %",
      "24.0 %",
      "3.000",
      "× 1.500",
      "0.321",
      "70.0 ± 2.3 %",
      "without layers 2",
    ]) {
      expect(rows[1].body).toContain(figure);
    }
    expect(rows[2].body).toContain("× 4.000");
  });

  it("draws both curves, the plan and the heatmap, each with a name", () => {
    const names = [...html.matchAll(/<svg[^>]*aria-label="([^".]*)/g)].map(([, name]) => name);
    expect(names).toEqual([
      "Perplexity, as a multiple of the dense model&#39;s",
      "Accuracy, ± one standard error",
      "3 layers",
      "npib",
    ]);
    expect(html).toContain("chance 25 %");
  });

  it("leaves out what was not measured", () => {
    const unmeasured = (row: ReportRow) => ({
      ...row,
      accuracy: null,
      accuracy_stderr: null,
      kl_to_dense: null,
    });
    const html = renderReport({ title: "t", rows: [dense, fold, control].map(unmeasured) });
    expect(html.match(/<svg/g)).toHaveLength(1);
    expect(html).not.toContain("NaN");
    expect(html).toContain("<td>–</td>");
  });
});
