import { readFileSync } from "node:fs";
import { type Diagnostic, type Matrix, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { embeddingChecks, randomMatrix } from "@layerfold/testkit";
import fc from "fast-check";
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

/** Points evenly spaced on a circle that lies askew in six dimensions. */
function circle(count: number): Matrix<Float64Array> {
  const map = randomMatrix(2, 6, seededRng(3));
  return rows(
    Array.from({ length: count }, (_, i) => {
      const angle = (2 * Math.PI * i) / count;
      // Each pair of axes turns (p, q) by the angle, so all chords of one angle have one length.
      return Array.from({ length: 6 }, (_, j) => {
        const [p, q] = [map.data[j - (j % 2)], map.data[j - (j % 2) + 1]];
        return j % 2 === 0
          ? p * Math.cos(angle) - q * Math.sin(angle)
          : q * Math.cos(angle) + p * Math.sin(angle);
      });
    }),
  );
}

/** Points on an open curve, in order. */
function arc(count: number): Matrix<Float64Array> {
  return rows(
    Array.from({ length: count }, (_, i) => [
      Math.cos((3 * i) / count),
      Math.sin((3 * i) / count),
      i / count,
    ]),
  );
}

/** Equally many points around each centre. */
function blobs(
  centers: readonly (readonly number[])[],
  perBlob: number,
  spread: number,
): Matrix<Float64Array> {
  const rng = seededRng(8);
  return rows(
    centers.flatMap((center) =>
      Array.from({ length: perBlob }, () => center.map((x) => x + spread * rng.normal())),
    ),
  );
}

const column = (m: Matrix, k: number) =>
  Array.from({ length: m.shape[0] }, (_, i) => m.data[i * m.shape[1] + k]);

function expectSame(got: Matrix, wanted: Matrix, bound = 1e-8) {
  expect(got.shape).toEqual(wanted.shape);
  got.data.forEach((value, i) => {
    expect(Math.abs(value - wanted.data[i])).toBeLessThanOrEqual(bound);
  });
}

describe("laws", () => {
  it("the spectrum of a positive definite kernel lies in [0, 1]", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 4, max: 30 }),
        fc.constantFrom("mka" as const, "gaussian" as const),
        fc.constantFrom(0, 0.5, 1),
        fc.nat(),
        async (count, kernel, alpha, seed) => {
          const points = randomMatrix(count, 3, seededRng(seed));
          const map = diffusionMap({ kernel, alpha, dimensions: count - 1 });
          const { eigenvalues } = await map.fit(points, context());
          expect(eigenvalues?.[0]).toBe(1);
          eigenvalues?.forEach((value, k) => {
            expect(value).toBeLessThanOrEqual(1 + 1e-12);
            expect(value).toBeGreaterThanOrEqual(-1e-12);
            if (k > 0) expect(value).toBeLessThanOrEqual((eigenvalues as Float64Array)[k - 1] + 1e-12);
          });
        },
      ),
      { numRuns: 40 },
    );
  });

  it.each(["mka", "gaussian", "self-tuning"] as const)(
    "a closed curve becomes a closed curve, %s",
    async (kernel) => {
      const count = 60;
      const ctx = context();
      const { coordinates } = await diffusionMap({ kernel, alpha: 1 }).fit(circle(count), ctx);
      // On evenly spaced points A is circulant: (ψ₁, ψ₂) = √2 (cos, sin) up to a turn.
      let turns = 0;
      for (let i = 0; i < count; i++) {
        const [x, y] = coordinates.data.subarray(2 * i, 2 * i + 2);
        const next = 2 * ((i + 1) % count);
        expect(Math.hypot(x, y)).toBeCloseTo(Math.SQRT2, 6);
        const step = Math.atan2(coordinates.data[next + 1], coordinates.data[next]) - Math.atan2(y, x);
        turns += Math.atan2(Math.sin(step), Math.cos(step)) / (2 * Math.PI);
      }
      expect(Math.abs(turns)).toBeCloseTo(1, 6);
      expect(ctx.diagnostics.map(({ code }) => code)).toContain("EIGENVALUES_DEGENERATE");
    },
  );

  it.each([{}, { form: "landmark", landmarkCount: 60 }, { form: "sparse", graphNeighborCount: 12 }] as const)(
    "an open curve is laid out in order, %o",
    async (form) => {
      const map = diffusionMap({ kernel: "gaussian", bandwidth: 0.05, alpha: 1, dimensions: 1, ...form });
      const { coordinates } = await map.fit(arc(240), context());
      const direction = Math.sign(coordinates.data[239] - coordinates.data[0]);
      for (let i = 1; i < 240; i++) {
        expect(direction * (coordinates.data[i] - coordinates.data[i - 1])).toBeGreaterThan(0);
      }
    },
  );

  it("keeping all neighbours is the dense form; having all landmarks too", async () => {
    const points = randomMatrix(40, 4, seededRng(5));
    for (const kernel of ["mka", "gaussian", "self-tuning"] as const) {
      const bandwidth = kernel === "gaussian" ? 3 : "auto";
      const dense = await diffusionMap({ kernel, bandwidth, time: 1 }).fit(points, context());
      const sparse = await diffusionMap({
        kernel,
        bandwidth,
        time: 1,
        form: "sparse",
        graphNeighborCount: 39,
      }).fit(points, context());
      expectSame(sparse.coordinates, dense.coordinates);
      const landmarks = await diffusionMap({ kernel, bandwidth, time: 1, form: "landmark" }).fit(
        points,
        context(),
      );
      expectSame(landmarks.coordinates, dense.coordinates, 0);
    }
  });

  it("float32 points give float64's coordinates to float32's digits", async () => {
    const points = blobs(
      [
        [0, 0, 0],
        [3, 0, 0],
        [0, 5, 0],
      ],
      80,
      0.7,
    );
    const narrow = tensor(Float32Array.from(points.data), points.shape);
    const wide = await diffusionMap().fit(points, context());
    expectSame((await diffusionMap().fit(narrow, context())).coordinates, wide.coordinates, 2e-4);
  });
});

describe("conformance", () => {
  for (const options of [
    {},
    { kernel: "gaussian", time: 2, dimensions: 3 },
    { kernel: "self-tuning", time: "auto" },
    { form: "sparse", graphNeighborCount: 8 },
    { kernel: "self-tuning", form: "sparse", graphNeighborCount: 12 },
  ] as const) {
    for (const { name, run } of embeddingChecks(() => diffusionMap(options)))
      it(`${JSON.stringify(options)} ${name}`, run);
  }
  const landmark = () => diffusionMap({ form: "landmark", landmarkCount: 40 });
  for (const { name, run } of embeddingChecks(landmark, { orderFree: false })) it(`landmark ${name}`, run);
});

describe("what is chosen", () => {
  const line = rows([[0], [1], [3]]);
  const same = async (rule: object, constant: number) => {
    const kernel = "kernel" in rule ? (rule.kernel as "mka" | "gaussian") : "mka";
    const byRule = await diffusionMap({ dimensions: 1, ...rule }).fit(line, context());
    const given = await diffusionMap({ dimensions: 1, kernel, bandwidth: constant }).fit(line, context());
    expectSame(byRule.coordinates, given.coordinates, 1e-12);
  };

  it("the median of the distances 1, 2, 3 and of the nearest 1, 1, 2", async () => {
    await same({ bandwidth: "median" }, 2);
    await same({ bandwidth: "median", kernel: "gaussian" }, 4);
    await same({ bandwidth: "neighbor", neighborCount: 1 }, 1);
    await same({ bandwidth: "neighbor", neighborCount: 2 }, 3);
  });

  it.each([
    { centers: 2, dimensions: 1 },
    { centers: 3, dimensions: 2 },
    { centers: 5, dimensions: 4 },
  ])("$centers clusters: $dimensions dimensions before the spectral gap", async ({ centers, dimensions }) => {
    const corners = Array.from({ length: centers }, (_, c) =>
      Array.from({ length: centers }, (_, j) => (c === j ? 12 : 0)),
    );
    const map = diffusionMap({ kernel: "gaussian", bandwidth: 20, dimensions: "auto" });
    const { coordinates, eigenvalues } = await map.fit(blobs(corners, 15, 0.5), context());
    expect(coordinates.shape[1]).toBe(dimensions);
    expect(eigenvalues?.length).toBe(dimensions + 2);
  });
});

describe("automatic dimensions", () => {
  it("may be as many as the maximum, where the largest gap lies behind it", async () => {
    // Four far clusters: eigenvalues 1, 1, 1 and then a drop, which is behind the third of at most three.
    const corners = Array.from({ length: 4 }, (_, c) => Array.from({ length: 4 }, (_, j) => 12 * +(c === j)));
    const points = blobs(corners, 15, 0.5);
    for (const maximumDimensions of [2, 3, 4]) {
      const map = diffusionMap({ kernel: "gaussian", bandwidth: 20, dimensions: "auto", maximumDimensions });
      const { coordinates, eigenvalues } = await map.fit(points, context());
      if (maximumDimensions > 2) expect(coordinates.shape[1]).toBe(3);
      else expect(coordinates.shape[1]).toBeLessThanOrEqual(2);
      expect(eigenvalues?.length).toBe(coordinates.shape[1] + 2);
    }
  });
});

describe("what is reported and refused", () => {
  const far = blobs(
    [
      [0, 0],
      [100, 0],
      [0, 100],
    ],
    10,
    1,
  );

  it("a graph in pieces, with their number", async () => {
    for (const options of [{ form: "sparse", graphNeighborCount: 4 }, { bandwidth: 0.1 }] as const) {
      const ctx = context();
      const { coordinates, eigenvalues } = await diffusionMap({ kernel: "gaussian", ...options }).fit(
        far,
        ctx,
      );
      const report = ctx.diagnostics.find(({ code }) => code === "GRAPH_DISCONNECTED");
      expect(report?.message).toContain("form" in options ? "3 components" : "components");
      expect(eigenvalues?.[1]).toBeCloseTo(1, 9);
      if ("form" in options) {
        for (const k of [0, 1])
          expect(new Set(column(coordinates, k).map((x) => x.toFixed(6))).size).toBeLessThanOrEqual(3);
      }
    }
  });

  it("a connected graph is not", async () => {
    const ctx = context();
    await diffusionMap().fit(blobs([[0, 0]], 20, 1), ctx);
    expect(ctx.diagnostics.map(({ code }) => code)).not.toContain("GRAPH_DISCONNECTED");
  });

  it.each([
    { code: "DIMENSIONS_TOO_MANY", points: rows([[1], [2], [4]]), options: { dimensions: 3 } },
    { code: "DIMENSIONS_TOO_MANY", points: rows([[1]]), options: { dimensions: "auto" } },
    { code: "SAMPLES_TOO_FEW", points: rows([[1], [2], [4]]), options: { form: "sparse" } },
    { code: "SAMPLES_TOO_FEW", points: rows([[1], [2], [4]]), options: { kernel: "self-tuning" } },
    {
      code: "POINTS_IDENTICAL",
      points: rows([
        [1, 2],
        [1, 2],
        [1, 2],
        [1, 2],
      ]),
      options: {},
    },
    { code: "POINTS_NOT_FINITE", points: rows([[1], [Number.NaN], [4]]), options: { dimensions: 1 } },
    {
      code: "BANDWIDTH_ZERO",
      points: rows([[1], [1], [1], [1], [4]]),
      options: { dimensions: 1, bandwidth: "median" },
    },
    {
      code: "BANDWIDTH_ZERO",
      points: rows([[1], [1], [1], [4]]),
      options: { dimensions: 1, kernel: "self-tuning", neighborCount: 1 },
    },
  ] as const)("$code: $options", async ({ code, points, options }) => {
    await expect(diffusionMap(options).fit(points, context())).rejects.toMatchObject({ code });
  });

  it("duplicates and constant features are no obstacle", async () => {
    const points = rows([
      [1, 7],
      [1, 7],
      [2, 7],
      [4, 7],
      [8, 7],
    ]);
    const { coordinates } = await diffusionMap().fit(points, context());
    expect(coordinates.data.every(Number.isFinite)).toBe(true);
    expect(coordinates.data[2]).toBeCloseTo(coordinates.data[0], 10);
    expect(coordinates.data[3]).toBeCloseTo(coordinates.data[1], 10);
  });

  it("coordinates whose eigenvalues are not positive, which are 0 for new points", async () => {
    // Two places, three points: beyond the first, all eigenvalues are 0.
    const points = rows([[0], [0], [1]]);
    const ctx = context();
    const { coordinates, transform } = await diffusionMap({ time: 1 }).fit(points, ctx);
    expect(ctx.diagnostics.map(({ code }) => code)).toContain("EIGENVALUES_NOT_POSITIVE");
    expect(column(coordinates, 1).map(Math.abs)).toEqual([0, 0, 0]);
    expect(column((await transform?.(points, ctx)) as Matrix, 1).map(Math.abs)).toEqual([0, 0, 0]);
  });

  it("a new point that no affinity reaches", async () => {
    const ctx = context();
    const { transform } = await diffusionMap({ kernel: "gaussian", bandwidth: 1, dimensions: 1 }).fit(
      rows([[0], [1], [2]]),
      ctx,
    );
    await expect(transform?.(rows([[1], [900]]), ctx)).rejects.toMatchObject({
      code: "POINT_OUT_OF_REACH",
      where: "row 1",
    });
  });

  it("stops when asked to", async () => {
    const signal = AbortSignal.abort();
    await expect(diffusionMap().fit(far, { ...context(), signal })).rejects.toMatchObject({
      code: "INTERRUPTED",
    });
  });
});
