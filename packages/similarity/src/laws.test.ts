import { type Matrix, type SimilarityMeasure, tensor } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { cca } from "./cca.js";
import { debiasedCka } from "./debiased-cka.js";
import { linearCka } from "./linear-cka.js";
import { mahalanobis } from "./mahalanobis.js";
import { minibatchCka } from "./minibatch-cka.js";
import { procrustes } from "./procrustes.js";
import { pwcca } from "./pwcca.js";
import { rbfCka } from "./rbf-cka.js";
import { rsa } from "./rsa.js";
import { svcca } from "./svcca.js";

const ctx = testContext(1);

async function value(measure: SimilarityMeasure, a: Matrix, b: Matrix): Promise<number> {
  return measure.compare(await measure.prepare(a, ctx), await measure.prepare(b, ctx), ctx);
}

const column = (values: Float64Array) => tensor(values, [values.length, 1]);

it("in one dimension CKA, CCA and Procrustes are the squared, absolute and absolute correlation", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 1e6 }),
      fc.double({ min: -1, max: 1, noNaN: true }),
      async (seed, share) => {
        const { rng } = testContext(seed);
        const x = Float64Array.from({ length: 30 }, () => rng.normal());
        const y = x.map((v) => share * v + rng.normal());
        const r = correlation(x, y);
        expect(await value(linearCka(), column(x), column(y))).toBeCloseTo(r * r, 10);
        expect(await value(cca(), column(x), column(y))).toBeCloseTo(Math.abs(r), 10);
        expect(await value(pwcca(), column(x), column(y))).toBeCloseTo(Math.abs(r), 10);
        expect(await value(procrustes({ form: "cosine" }), column(x), column(y))).toBeCloseTo(
          Math.abs(r),
          10,
        );
      },
    ),
    { numRuns: 20 },
  );
});

it("CKA of a wide and a narrow layer does not depend on which has a kernel", async () => {
  const { rng } = testContext(11);
  const [wide, narrow] = [randomMatrix(50, 10, rng), randomMatrix(50, 2, rng)];
  // Padding with constant features changes nothing, but brings the narrow layer within reach of the kernel form.
  const padded = tensor(
    Float64Array.from({ length: 500 }, (_, at) =>
      at % 10 < 2 ? narrow.data[2 * Math.floor(at / 10) + (at % 10)] : 1,
    ),
    [50, 10],
  );
  expect(await value(linearCka(), wide, narrow)).toBeCloseTo(await value(linearCka(), wide, padded), 12);
});

it("PWCCA weighs orthogonal features by their size", async () => {
  // Orthonormal e0, e1, n0, n1 with mean 0; x = [3e0, e1]; y = [c0·e0 + s0·n0, c1·e1 + s1·n1]: correlations c0, c1 with weights 3, 1.
  const basis = [
    [1, -1, 1, -1, 1, -1, 1, -1],
    [1, 1, -1, -1, 1, 1, -1, -1],
    [1, 1, 1, 1, -1, -1, -1, -1],
    [1, -1, -1, 1, -1, 1, 1, -1],
  ];
  const [c0, c1] = [0.6, 0.28];
  const x = tensor(
    Float64Array.from({ length: 16 }, (_, at) => (at % 2 ? 1 : 3) * basis[at % 2][at >> 1]),
    [8, 2],
  );
  const y = tensor(
    Float64Array.from({ length: 16 }, (_, at) => {
      const [i, j] = [at >> 1, at % 2];
      return j ? c1 * basis[1][i] + 0.96 * basis[3][i] : c0 * basis[0][i] + 0.8 * basis[2][i];
    }),
    [8, 2],
  );
  expect(await value(pwcca(), x, y)).toBeCloseTo((3 * c0 + c1) / 4, 12);
  expect(await value(pwcca(), y, x)).toBeCloseTo((c0 + c1) / 2, 12);
});

it("debiased CKA is 0 on average for independent layers, where plain CKA is far above", async () => {
  let [debiased, plain, squares] = [0, 0, 0];
  const repetitions = 100;
  for (let seed = 0; seed < repetitions; seed++) {
    const { rng } = testContext(1000 + seed);
    const [x, y] = [randomMatrix(24, 40, rng), randomMatrix(24, 40, rng)];
    const estimate = await value(debiasedCka(), x, y);
    debiased += estimate / repetitions;
    squares += estimate ** 2 / repetitions;
    plain += (await value(linearCka(), x, y)) / repetitions;
  }
  expect(Math.abs(debiased)).toBeLessThan(4 * Math.sqrt(squares / repetitions));
  expect(plain).toBeGreaterThan(0.5);
});

it("minibatch CKA leaves no sample out and agrees with debiased CKA on many", async () => {
  const { rng } = testContext(5);
  const x = randomMatrix(1000, 4, rng);
  const noise = randomMatrix(1000, 4, rng);
  const y = tensor(
    x.data.map((v, at) => v + noise.data[at]),
    x.shape,
  );
  const whole = await value(debiasedCka(), x, y);
  expect(await value(minibatchCka({ batchSize: 1000 }), x, y)).toBeCloseTo(whole, 12);
  // Both estimate 1/4·… with a standard error of about 1/√1000.
  expect(Math.abs((await value(minibatchCka({ batchSize: 64 }), x, y)) - whole)).toBeLessThan(
    4 / Math.sqrt(1000),
  );
  const last = x.data.slice();
  last[last.length - 1] += 5;
  expect(await value(minibatchCka({ batchSize: 64 }), tensor(last, x.shape), y)).not.toBe(
    await value(minibatchCka({ batchSize: 64 }), x, y),
  );
});

it("SVCCA forgets what carries little variance, CCA does not", async () => {
  const { rng } = testContext(6);
  const shared = randomMatrix(60, 1, rng).data;
  const [a, b] = [randomMatrix(60, 1, rng).data, randomMatrix(60, 1, rng).data];
  const beside = (noise: Float64Array) =>
    tensor(
      Float64Array.from({ length: 120 }, (_, at) => (at % 2 ? 1e-3 * noise[at >> 1] : shared[at >> 1])),
      [60, 2],
    );
  expect(await value(svcca(), beside(a), beside(b))).toBeCloseTo(1, 5);
  expect(await value(cca(), beside(a), beside(b))).toBeLessThan(0.8);
});

it("wide layers are rotated to as many columns as there are samples", async () => {
  const { rng } = testContext(7);
  const [x, y] = [randomMatrix(10, 25, rng), randomMatrix(10, 3, rng)];
  const padded = tensor(
    Float64Array.from({ length: 250 }, (_, at) =>
      at % 25 < 3 ? y.data[3 * Math.floor(at / 25) + (at % 25)] : 0,
    ),
    [10, 25],
  );
  expect(await value(procrustes(), x, padded)).toBeCloseTo(await value(procrustes(), x, y), 7);
});

it.each([
  ["cca", cca()],
  ["pwcca", pwcca()],
])("%s refuses features that span all samples", async (_, measure) => {
  const { rng } = testContext(8);
  await expect(
    value(measure as SimilarityMeasure, randomMatrix(10, 12, rng), randomMatrix(10, 2, rng)),
  ).rejects.toMatchObject({
    code: "SAMPLES_TOO_FEW",
  });
});

it.each([linearCka(), rbfCka(), debiasedCka(), cca(), procrustes(), rsa()] as SimilarityMeasure[])(
  "$id refuses a constant layer",
  async (measure) => {
    const constant = tensor(new Float64Array(30).fill(2), [10, 3]);
    await expect(value(measure, constant, randomMatrix(10, 3, testContext(9).rng))).rejects.toMatchObject({
      code: "LAYER_CONSTANT",
    });
  },
);

it("Mahalanobis shrinks where there are fewer samples than features, and refuses layers without any spread", async () => {
  const { rng } = testContext(10);
  const got = await value(mahalanobis(), randomMatrix(5, 30, rng), randomMatrix(5, 30, rng));
  expect(got).toBeGreaterThan(0);
  const constant = tensor(new Float64Array(30).fill(2), [10, 3]);
  await expect(value(mahalanobis(), constant, constant)).rejects.toMatchObject({
    code: "MATRIX_NOT_POSITIVE_DEFINITE",
  });
});

function correlation(x: Float64Array, y: Float64Array): number {
  const mean = (v: Float64Array) => v.reduce((sum, value) => sum + value, 0) / v.length;
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) ** 2;
    yy += (y[i] - my) ** 2;
  }
  return xy / Math.sqrt(xx * yy);
}
