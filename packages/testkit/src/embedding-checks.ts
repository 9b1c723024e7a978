import { contiguousData, type Embedding, isLayerfoldError, type Matrix, tensor } from "@layerfold/core";
import {
  type ConformanceCheck,
  close,
  ensure,
  identityCheck,
  permutedRows,
  stridedCopy,
} from "./conformance.js";
import { randomMatrix } from "./random-matrix.js";
import { testContext } from "./test-context.js";

export interface EmbeddingCheckOptions {
  /** Points to embed, [samples, features] float64; default 60 random points in 5 dimensions, stretched along each by another factor. */
  readonly points?: Matrix<Float64Array>;
  /** How closely coordinates must agree, beside the largest of them, where a law says that they are equal; default 1e-6. */
  readonly tolerance?: number;
  /** Whether points in another order get the same coordinates; false for methods that start from random coordinates. Default true. */
  readonly orderFree?: boolean;
}

/**
 * The laws of an embedding: coordinates finite and one row per sample, inputs untouched, strides heeded, the same seed the same
 * coordinates, NaN refused, spectrum descending, and (where promised) independence of the samples' order and `transform` placing the
 * fitted points where they are.
 *
 * @param make - makes the embedding anew
 *
 * @example
 * ```ts
 * for (const { name, run } of embeddingChecks(() => myEmbedding())) it(name, run);
 * ```
 */
export function embeddingChecks(
  make: () => Embedding,
  options: EmbeddingCheckOptions = {},
): ConformanceCheck[] {
  const { points = stretchedPoints(), tolerance = 1e-6, orderFree = true } = options;
  const [samples, features] = points.shape;
  const { id } = make();
  const fit = (data: Matrix, seed = 1) => make().fit(data, testContext(seed));

  const same = (got: Matrix, wanted: Matrix, law: string, slack = tolerance) => {
    ensure(
      got.shape.join() === wanted.shape.join(),
      `${id}: ${law}: shape [${got.shape}], not [${wanted.shape}]`,
    );
    const a = contiguousData(got);
    const b = contiguousData(wanted);
    const scale = Float64Array.from(b).reduce((largest, v) => Math.max(largest, Math.abs(v)), 0) || 1;
    for (let at = 0; at < a.length; at++) {
      ensure(
        close(a[at] / scale, b[at] / scale, slack),
        `${id}: ${law}: sample ${Math.floor(at / wanted.shape[1])} lies at ${a[at]} instead of ${b[at]}`,
      );
    }
  };

  const checks: ConformanceCheck[] = [
    identityCheck("embedding", make),
    {
      name: "gives every sample finite coordinates, and a descending spectrum if any",
      async run() {
        const { coordinates, eigenvalues } = await fit(points);
        ensure(
          coordinates.shape.length === 2 && coordinates.shape[0] === samples,
          `${id}: coordinates of shape [${coordinates.shape}] for ${samples} samples`,
        );
        ensure(contiguousData(coordinates).every(Number.isFinite), `${id}: a coordinate is not finite`);
        eigenvalues?.forEach((value, k) => {
          ensure(k === 0 || value <= eigenvalues[k - 1], `${id}: eigenvalue ${k} is above the one before`);
        });
      },
    },
    {
      name: "leaves its input untouched",
      async run() {
        const copy = contiguousData(points).slice();
        await fit(points);
        ensure(
          contiguousData(points).every((v, at) => v === copy[at]),
          `${id}: the points were changed`,
        );
      },
    },
    {
      name: "reads strided points as it reads contiguous ones",
      async run() {
        same((await fit(stridedCopy(points))).coordinates, (await fit(points)).coordinates, "strided points");
      },
    },
    {
      name: "gives the same coordinates for the same seed",
      async run() {
        same((await fit(points, 5)).coordinates, (await fit(points, 5)).coordinates, "the same seed", 0);
      },
    },
    {
      name: "refuses points that are not finite",
      async run() {
        const data = contiguousData(points).slice();
        data[features] = Number.NaN;
        await fit(tensor(data, [samples, features])).then(
          () => ensure(false, `${id}: NaN was accepted`),
          (error) =>
            ensure(isLayerfoldError(error), `${id}: refused by ${error} instead of a LayerfoldError`),
        );
      },
    },
    {
      name: "transform, if any, places the fitted points where they are",
      async run() {
        const fitted = await fit(points);
        if (!fitted.transform) return;
        same(
          await fitted.transform(points, testContext(1)),
          fitted.coordinates,
          "transform of the fitted points",
        );
      },
    },
  ];
  if (orderFree) {
    checks.push({
      name: "does not depend on the order of the samples",
      async run() {
        const order = testContext(2).rng.permutation(samples);
        const got = (await fit(permutedRows(points, order))).coordinates;
        same(got, permutedRows((await fit(points)).coordinates, order), "samples in another order");
      },
    });
  }
  return checks;
}

/** Directions of unequal spread, so that spectra are not degenerate. */
function stretchedPoints(): Matrix<Float64Array> {
  const points = randomMatrix(60, 5, testContext(1).rng);
  for (let at = 0; at < points.data.length; at++) points.data[at] *= 3 / (1 + (at % 5));
  return points;
}
