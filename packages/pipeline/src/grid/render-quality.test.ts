import { readdirSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { preset } from "@layerfold/merge";
import { afterAll, beforeAll, expect, it } from "vitest";
import { foldling } from "../../../cli/src/foldling.js";
import { createRun } from "../run.js";
import { type QualityTableRequest, qualityTable, ways } from "./quality-table.js";

const { checkpoint, data } = foldling();
let out: string;
beforeAll(async () => {
  out = await mkdtemp(join(tmpdir(), "quality-"));
});
afterAll(() => rm(out, { recursive: true }));

it("carries a plan out in four ways, compares them by window, and goes on where it stopped", async () => {
  const request: QualityTableRequest = {
    model: checkpoint,
    presets: [preset("shortgpt")],
    ratios: [1 / 16],
    calibration: `${join(data, "calibration.jsonl")}[0:6]`,
    texts: [`${join(data, "validation.jsonl")}[0:4]`],
    out,
  };
  const run = createRun({ quiet: true });
  const { dense, rows, plans } = await qualityTable(request, run);
  expect(rows.map(({ way }) => way)).toEqual(ways);
  expect(
    rows.map(({ strategy, repair, merged_groups, own }) => [strategy, repair, merged_groups, own]),
  ).toEqual([
    ["drop", null, 0, true],
    ["drop", "reconstruct", 0, false],
    ["weighted", null, 1, false],
    ["weighted", "reconstruct", 1, false],
  ]);
  for (const { quality } of rows) {
    expect(quality.kl_to_dense).toBeGreaterThan(0);
    expect(quality.texts[0].window_losses).toHaveLength(4);
  }
  expect(dense.quality.kl_to_dense).toBeNull();
  const [{ difference, low, high }] = plans[0].merging!;
  const loss = (row: number) => Math.log(rows[row].quality.perplexity!);
  expect(difference).toBeCloseTo(loss(3) - loss(1), 10);
  expect(low).toBeLessThanOrEqual(difference);
  expect(high).toBeGreaterThanOrEqual(difference);
  expect(readdirSync(out).sort()).toEqual(["quality.json", "quality.md", "rows"]);
  const table = readFileSync(join(out, "quality.md"), "utf8");
  expect(table).toContain("**dropped**");
  expect(table).toContain("New to it: validation.jsonl[0:4]");

  const { manifest } = JSON.parse(readFileSync(join(out, "quality.json"), "utf8"));
  expect(manifest.plugins).toMatchObject([{ id: "lowest-influence" }, { id: "drop" }]);

  const kept = readdirSync(join(out, "rows"));
  // Dense, the plan, four rows.
  expect(kept).toHaveLength(6);
  const written = () => kept.map((name) => statSync(join(out, "rows", name)).mtimeMs);
  const [gone] = kept.filter((name) =>
    readFileSync(join(out, "rows", name), "utf8").includes("num_hidden_layers"),
  );
  await rm(join(out, "rows", gone));
  const before = kept
    .filter((name) => name !== gone)
    .map((name) => statSync(join(out, "rows", name)).mtimeMs);
  const again = await qualityTable(request, run);
  expect(again.rows).toEqual(rows);
  expect(written().filter((_, i) => kept[i] !== gone)).toEqual(before);
});
