import { fileURLToPath } from "node:url";
import { contiguousData } from "@layerfold/core";
import { expect, it } from "vitest";
import { compareLayers } from "./compare-layers.js";

const foldling = fileURLToPath(new URL("../../models/foldling/", import.meta.url));

it("compares every two layers of foldling", async () => {
  const matrix = await compareLayers(`${foldling}checkpoint`, `${foldling}data/calibration.jsonl`);
  expect(matrix.shape).toEqual([16, 16]);
  const values = contiguousData(matrix);
  for (let l = 0; l < 16; l++) {
    expect(values[l * 16 + l]).toBe(1);
    for (let m = 0; m < l; m++) {
      expect(values[l * 16 + m]).toBe(values[m * 16 + l]);
      expect(values[l * 16 + m]).toBeGreaterThanOrEqual(0);
      expect(values[l * 16 + m]).toBeLessThan(1);
    }
  }
});
