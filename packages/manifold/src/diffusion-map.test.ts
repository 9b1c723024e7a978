import { readFileSync } from "node:fs";
import type { Diagnostic, RunContext } from "@layerfold/core";
import { tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { diffusionMap } from "./diffusion-map.js";

interface Golden {
  generator: string;
  rtol?: number;
  points: Record<string, number[][]>;
  cases: {
    data: string;
    kernel: "mka" | "gaussian";
    scale: number;
    alpha: number;
    time: number;
    eigenvalues: number[];
    coordinates: number[][];
  }[];
}

// Made with numpy 2.4.6 and scipy 1.17.1; entries are rounded to 12 decimals.
const golden: Golden = JSON.parse(
  readFileSync(new URL("../test/golden/diffusion-map.json", import.meta.url), "utf8"),
);

function context(): RunContext & { diagnostics: Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  return {
    rng: seededRng(1),
    engine: portableEngine(),
    diagnostics,
    report: (event) => {
      if (event.type === "diagnostic") diagnostics.push(event);
    },
  };
}

function rows(points: readonly (readonly number[])[]) {
  return tensor(Float64Array.from(points.flat()), [points.length, points[0].length]);
}

/** Asserts numpy's allclose with rtol 1e-7 and an atol of twice the golden file's rounding. */
function expectClose(got: ArrayLike<number>, wanted: readonly number[]) {
  expect(got.length).toBe(wanted.length);
  wanted.forEach((value, i) => {
    expect(Math.abs(got[i] - value)).toBeLessThanOrEqual(1e-7 * Math.abs(value) + 2e-12);
  });
}

describe("golden file", () => {
  it.each(golden.cases)("$data, $kernel, alpha $alpha, time $time", async (wanted) => {
    const { kernel, scale, alpha, time } = wanted;
    const embedding = diffusionMap({ kernel, bandwidth: scale, alpha, time, dimensions: 3 });
    const { coordinates, eigenvalues } = await embedding.fit(rows(golden.points[wanted.data]), context());
    expectClose(eigenvalues as Float64Array, wanted.eigenvalues.slice(0, 5));
    expectClose(coordinates.data, wanted.coordinates.flat());
  });
});
