import {
  contiguousData,
  isLayerfoldError,
  type Matrix,
  type Rng,
  type RunContext,
  type SimilarityMeasure,
  type SimilarityTraits,
  tensor,
} from "@layerfold/core";
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

export interface SimilarityMeasureCheckOptions {
  /** Size of the random layers. Default 48 samples, 6 features. */
  readonly samples?: number;
  readonly features?: number;
  /** How closely values must agree where a law says that they are equal; default 1e-7. */
  readonly tolerance?: number;
  /** Whether the samples' order is free; false for measures that cut them into batches. Default: true unless stochastic. */
  readonly orderFree?: boolean;
}

/**
 * The laws of a similarity measure: what its traits promise, and what every measure owes (inputs untouched, strides heeded, the same seed
 * the same value, a layer most alike itself, `compareAll` = `compare`, unpaired layers refused).
 *
 * @param make - makes the measure anew, e.g. `() => myMeasure({ scale: 2 })`
 *
 * @example
 * ```ts
 * for (const { name, run } of similarityMeasureChecks(() => myMeasure())) it(name, run);
 * ```
 */
export function similarityMeasureChecks<P>(
  make: () => SimilarityMeasure<P>,
  options: SimilarityMeasureCheckOptions = {},
): ConformanceCheck[] {
  const { samples = 48, features = 6, tolerance = 1e-7 } = options;
  const { traits, id } = make();
  const { orderFree = !traits.stochastic } = options;
  const { rng } = testContext(1);
  const base = randomMatrix(samples, features, rng);
  const near = mix(base, randomMatrix(samples, features, rng), 0.6);
  const far = randomMatrix(samples, features, rng);

  const value = async (a: Matrix, b: Matrix, seed = 1) => {
    const measure = make();
    const ctx = testContext(seed);
    const first = await measure.prepare(a, forked(ctx, "first"));
    const second = await measure.prepare(b, forked(ctx, "second"));
    return await measure.compare(first, second, forked(ctx, "pair"));
  };
  const equal = (got: number, wanted: number, law: string, slack = tolerance) =>
    ensure(close(got, wanted, slack), `${id}: ${law}: ${got} instead of ${wanted}`);

  const checks: ConformanceCheck[] = [
    identityCheck("similarity", make),
    {
      name: "stays within its range",
      async run() {
        const [low, high] = traits.range;
        for (const [a, b] of [
          [base, near],
          [near, far],
          [far, base],
          [base, base],
        ] as const) {
          const got = await value(a, b);
          ensure(
            got >= low - tolerance && got <= high + tolerance,
            `${id}: ${got} is outside [${low}, ${high}]`,
          );
        }
      },
    },
    {
      name: "finds a layer at least as like itself as any other",
      async run() {
        const measure = make();
        const ctx = testContext(1);
        const prepared = await measure.prepare(base, ctx);
        const itself = await measure.compare(prepared, prepared, ctx);
        for (const other of [near, far]) {
          const got = await value(base, other);
          ensure(got <= itself + tolerance, `${id}: ${got} with another layer, ${itself} with itself`);
        }
      },
    },
    {
      name: "leaves its inputs untouched",
      async run() {
        const copies = [base, near].map((m) => contiguousData(m).slice());
        await value(base, near);
        [base, near].forEach((m, i) => {
          ensure(
            contiguousData(m).every((v, at) => v === copies[i][at]),
            `${id}: input ${i} was changed`,
          );
        });
      },
    },
    {
      name: "reads strided layers as it reads contiguous ones",
      async run() {
        equal(await value(stridedCopy(base), stridedCopy(near)), await value(base, near), "strided layers");
      },
    },
    {
      name: "takes float32 as it takes float64",
      async run() {
        const narrow = (m: Matrix) => tensor(Float32Array.from(contiguousData(m)), m.shape);
        equal(await value(narrow(base), narrow(near)), await value(base, near), "float32 layers", 1e-3);
      },
    },
    {
      name: "gives the same value for the same seed",
      async run() {
        const first = await value(base, near, 5);
        ensure(first === (await value(base, near, 5)), `${id}: the same seed gave two values`);
        if (!traits.stochastic) {
          ensure(
            first === (await value(base, near, 6)),
            `${id}: not stochastic, but the seed changes the value`,
          );
        }
      },
    },
    {
      name: "refuses layers with different numbers of samples",
      async run() {
        const short = tensor(base.data, [samples - 1, features]);
        await value(short, near).then(
          (got) => ensure(false, `${id}: layers that are not paired gave ${got}`),
          (error) =>
            ensure(isLayerfoldError(error), `${id}: refused by ${error} instead of a LayerfoldError`),
        );
      },
    },
    {
      name: "compareAll fills in what compare gives",
      async run() {
        const measure = make();
        const ctx = testContext(1);
        const prepared = await Promise.all([base, near, far].map((m) => measure.prepare(m, ctx)));
        const all = await measure.compareAll?.(prepared, ctx);
        if (!all) return;
        for (let l = 0; l < 3; l++) {
          for (let m = 0; m < 3; m++) {
            const got = all.data[all.offset + l * all.stride[0] + m * all.stride[1]];
            equal(got, await measure.compare(prepared[l], prepared[m], ctx), `compareAll (${l}, ${m})`);
          }
        }
      },
    },
  ];
  if (traits.symmetric) {
    checks.push({
      name: "is symmetric",
      async run() {
        equal(await value(near, base), await value(base, near), "the other order");
      },
    });
  }
  if (orderFree) {
    checks.push({
      name: "does not depend on the order of the samples",
      async run() {
        const order = testContext(2).rng.permutation(samples);
        const got = await value(permutedRows(base, order), permutedRows(near, order));
        equal(got, await value(base, near), "samples in another order");
      },
    });
  }
  for (const invariance of traits.invariantTo) {
    checks.push({
      name: `is invariant to ${invariance}`,
      async run() {
        const change = transformation(invariance, features, testContext(3).rng);
        const wanted = await value(base, near);
        equal(await value(change(base), near), wanted, `${invariance} of the first layer`);
        equal(await value(base, change(near)), wanted, `${invariance} of the second layer`);
      },
    });
  }
  return checks;
}

const forked = (ctx: RunContext, label: string): RunContext => ({ ...ctx, rng: ctx.rng.fork(label) });

/** √(1 − share²)·a + share·b */
function mix(a: Matrix, b: Matrix, share: number): Matrix {
  const x = contiguousData(a);
  const y = contiguousData(b);
  return tensor(
    Float64Array.from(x, (v, i) => Math.sqrt(1 - share * share) * v + share * y[i]),
    a.shape,
  );
}

function transformation(
  kind: SimilarityTraits["invariantTo"][number],
  features: number,
  rng: Rng,
): (layer: Matrix) => Matrix {
  switch (kind) {
    case "translation": {
      const shift = randomMatrix(1, features, rng).data;
      return (layer) => mapped(layer, (v, column) => v + 3 * shift[column]);
    }
    case "isotropic-scale":
      return (layer) => mapped(layer, (v) => 2.5 * v);
    case "rotation":
      return (layer) => product(layer, orthonormalRows(randomMatrix(features, features, rng.fork("map"))));
    case "linear":
      // Random matrices are invertible, and of this size well conditioned enough for the tolerance.
      return (layer) => product(layer, randomMatrix(features, features, rng.fork("map")));
  }
}

function mapped(m: Matrix, f: (value: number, column: number) => number): Matrix {
  const columns = m.shape[1];
  return tensor(
    Float64Array.from(contiguousData(m), (v, at) => f(v, at % columns)),
    m.shape,
  );
}

function product(layer: Matrix, map: Matrix): Matrix {
  const [rows, columns] = layer.shape;
  const x = contiguousData(layer);
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < columns; k++) {
      for (let j = 0; j < columns; j++)
        out[i * columns + j] += x[i * columns + k] * map.data[k * columns + j];
    }
  }
  return tensor(out, [rows, columns]);
}

/** Gram–Schmidt, twice for accuracy. */
function orthonormalRows(m: Matrix<Float64Array>): Matrix<Float64Array> {
  const [rows, columns] = m.shape;
  const row = (i: number) => m.data.subarray(i * columns, (i + 1) * columns);
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, k) => sum + v * b[k], 0);
  for (let i = 0; i < rows; i++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const along = dot(row(i), row(j));
        for (let k = 0; k < columns; k++) row(i)[k] -= along * row(j)[k];
      }
    }
    const norm = Math.sqrt(dot(row(i), row(i)));
    for (let k = 0; k < columns; k++) row(i)[k] /= norm;
  }
  return m;
}
