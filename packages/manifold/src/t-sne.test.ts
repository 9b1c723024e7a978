import { tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { embeddingChecks, randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { conditionalAffinities, jointAffinities, tSne, tSneGradient } from "./t-sne.js";

const ctx = testContext(1, { engine: portableEngine() });

describe("conformance", () => {
  const make = () => tSne({ perplexity: 8, iterations: 60 });
  // A descent of many steps follows rounding errors, which differ with the order of sums.
  for (const { name, run } of embeddingChecks(make, { orderFree: false })) it(name, run);
});

it("gives every point the perplexity asked for", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 1000 }), { minLength: 10, maxLength: 40 }),
      (distances) => {
        const distinct = Float64Array.from(distances, (distance) => 0.37 * distance);
        const p = conditionalAffinities(distinct, 5);
        const entropy = -p.reduce((sum, x) => sum + (x > 0 ? x * Math.log(x) : 0), 0);
        expect(p.reduce((sum, x) => sum + x, 0)).toBeCloseTo(1, 12);
        expect(Math.exp(entropy)).toBeCloseTo(5, 6);
      },
    ),
  );
});

it.each([true, false])(
  "has symmetric joint affinities that sum to 1, neighbours only: %s",
  async (neighborsOnly) => {
    const points = randomMatrix(50, 4, seededRng(2));
    const { starts, columns, values } = await jointAffinities(points, 6, neighborsOnly, ctx);
    const entry = new Map<string, number>();
    for (let i = 0; i < 50; i++)
      for (let k = starts[i]; k < starts[i + 1]; k++) entry.set(`${i},${columns[k]}`, values[k]);
    let total = 0;
    for (const [key, value] of entry) {
      total += value;
      expect(entry.get(key.split(",").reverse().join())).toBeCloseTo(value, 15);
    }
    expect(total).toBeCloseTo(1, 12);
  },
);

describe("gradient", async () => {
  const count = 40;
  const affinities = await jointAffinities(randomMatrix(count, 4, seededRng(2)), 6, false, ctx);
  const y = randomMatrix(count, 2, seededRng(3)).data;

  function divergence(at: Float64Array): number {
    const q = (i: number, j: number) =>
      1 / (1 + (at[2 * i] - at[2 * j]) ** 2 + (at[2 * i + 1] - at[2 * j + 1]) ** 2);
    let total = 0;
    for (let i = 0; i < count; i++) for (let j = 0; j < count; j++) if (i !== j) total += q(i, j);
    let sum = 0;
    const { starts, columns, values } = affinities;
    for (let i = 0; i < count; i++) {
      for (let k = starts[i]; k < starts[i + 1]; k++)
        sum += values[k] * Math.log((values[k] * total) / q(i, columns[k]));
    }
    return sum;
  }

  it("is the slope of KL(P‖Q)", () => {
    const gradient = tSneGradient(y, 2, affinities, 1, "exact");
    for (const at of [0, 1, 17, 44, 79]) {
      const step = 1e-5;
      const moved = (by: number) => Float64Array.from(y, (value, i) => value + (i === at ? by : 0));
      const slope = (divergence(moved(step)) - divergence(moved(-step))) / (2 * step);
      expect(Math.abs(gradient[at] - slope)).toBeLessThanOrEqual(1e-8);
    }
  });

  it("is the same by the quadtree with angle 0, and close with a small one, piles of points included", () => {
    const piled = Float64Array.from(y);
    for (let i = 0; i < 6; i++) piled.set([0.3, -0.2], 2 * i);
    const exact = tSneGradient(piled, 2, affinities, 1, "exact");
    const size = Math.sqrt(exact.reduce((sum, value) => sum + value * value, 0));
    const error = (theta: number) =>
      Math.sqrt(
        tSneGradient(piled, 2, affinities, 1, { theta }).reduce(
          (sum, value, i) => sum + (value - exact[i]) ** 2,
          0,
        ),
      ) / size;
    expect(error(0)).toBeLessThanOrEqual(1e-12);
    expect(error(0.3)).toBeLessThanOrEqual(0.05);
  });
});

it.each(["exact", "barnes-hut"] as const)("keeps three clusters apart, %s", async (method) => {
  const points = randomMatrix(90, 5, seededRng(6));
  for (let i = 0; i < 90; i++) points.data[i * 5 + (i % 3)] += 30;
  const { coordinates } = await tSne({ method, perplexity: 10, iterations: 500 }).fit(points, ctx);
  const distance = (i: number, j: number) =>
    Math.hypot(
      coordinates.data[2 * i] - coordinates.data[2 * j],
      coordinates.data[2 * i + 1] - coordinates.data[2 * j + 1],
    );
  for (let i = 0; i < 90; i++) {
    const order = Array.from({ length: 90 }, (_, j) => j).sort((a, b) => distance(i, a) - distance(i, b));
    expect(order.slice(0, 10).every((j) => j % 3 === i % 3)).toBe(true);
  }
});

it("refuses too few samples for the perplexity, and a quadtree in space", async () => {
  const points = randomMatrix(20, 3, seededRng(1));
  await expect(tSne().fit(points, ctx)).rejects.toMatchObject({ code: "SAMPLES_TOO_FEW" });
  const inSpace = tSne({ perplexity: 4, dimensions: 3, method: "barnes-hut" });
  await expect(inSpace.fit(points, ctx)).rejects.toMatchObject({ code: "OPTION_INVALID" });
  const same = tensor(new Float64Array(40).fill(1), [20, 2]);
  await expect(tSne({ perplexity: 4 }).fit(same, ctx)).rejects.toMatchObject({ code: "POINTS_IDENTICAL" });
});
