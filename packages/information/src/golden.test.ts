import { type Matrix, tensor } from "@layerfold/core";
import { readGolden, testContext } from "@layerfold/testkit";
import { expect, it } from "vitest";
import { gaussianMutualInformation } from "./gaussian-mutual-information.js";
import { entropy } from "./kozachenko-leonenko-entropy.js";
import { mutualInformation } from "./ksg-mutual-information.js";
import { mkaReleasedCode } from "./mka-released-code.js";
import { univariateMutualInformation } from "./univariate-mutual-information.js";

interface Golden {
  rtol: number;
  neighborCount: number;
  cases: {
    rho: number;
    x: number[][];
    y: number[][];
    ksg1: number;
    ksg2: number;
    entropy_x_kl_k3: number;
    entropy_x_kl_k50: number;
    gaussian_mi_exact: number;
    sklearn_univariate: number[][];
    sklearn_tolerance: number;
  }[];
}

const golden = await readGolden<Golden>(new URL("../test/golden/information.json", import.meta.url));
const matrix = (rows: number[][]): Matrix =>
  tensor(Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
const relative = (got: number, wanted: number) => Math.abs(got - wanted) / Math.abs(wanted);

it.each(golden.cases)("agrees with numpy, scipy and scikit-learn at ρ = $rho", async (wanted) => {
  const { neighborCount, rtol } = golden;
  const [x, y] = [matrix(wanted.x), matrix(wanted.y)];
  for (const estimator of ["ksg1", "ksg2"] as const) {
    const got = mutualInformation(x, y, { estimator, neighborCount });
    expect(relative(got, wanted[estimator]), estimator).toBeLessThanOrEqual(rtol);
    expect(mutualInformation(y, x, { estimator, neighborCount }), `${estimator}, the other way`).toBeCloseTo(
      got,
      12,
    );
  }
  expect(relative(entropy(x, { neighborCount: 3 }), wanted.entropy_x_kl_k3)).toBeLessThanOrEqual(rtol);
  expect(relative(entropy(x, { neighborCount: 50 }), wanted.entropy_x_kl_k50)).toBeLessThanOrEqual(rtol);
  const univariate = univariateMutualInformation(x, y, { neighborCount });
  wanted.sklearn_univariate.flat().forEach((value, at) => {
    expect(Math.abs(univariate.data[at] - value)).toBeLessThanOrEqual(wanted.sklearn_tolerance);
  });
  // The estimate's standard error is ρ √(d/n) to first order and its bias d²/2n (Miller & Madow); n = 200, d = 2.
  const gaussian = await gaussianMutualInformation(x, y, testContext(1));
  const n = wanted.x.length;
  expect(Math.abs(gaussian - wanted.gaussian_mi_exact)).toBeLessThan(
    4 * (wanted.rho * Math.sqrt(2 / n) + 2 / n),
  );
});

interface ReleasedCodeGolden {
  rtol: number;
  cases: { rho: number; entropy_x: number; xy: Spread; xx: Spread }[];
}
interface Spread {
  mean: number;
  deviation: number;
}

const released = await readGolden<ReleasedCodeGolden>(
  new URL("../test/golden/mka-released-code.json", import.meta.url),
);

it.each(released.cases)(
  "agrees with MKA's published script at ρ = $rho, to the spread of its noise",
  (wanted) => {
    const points = golden.cases.find(({ rho }) => rho === wanted.rho)!;
    const measure = mkaReleasedCode();
    const ctx = testContext(1);
    const [x, y] = [measure.prepare(matrix(points.x), ctx), measure.prepare(matrix(points.y), ctx)] as const;
    expect(relative((x as { entropy: number }).entropy, wanted.entropy_x)).toBeLessThanOrEqual(released.rtol);
    expect(Math.abs((measure.compare(x as never, y as never, ctx) as number) - wanted.xy.mean)).toBeLessThan(
      5 * wanted.xy.deviation,
    );
    expect(Math.abs((measure.compare(x as never, x as never, ctx) as number) - wanted.xx.mean)).toBeLessThan(
      5 * wanted.xx.deviation,
    );
  },
);
