import type { Matrix, Rng } from "@layerfold/core";
import { randomTieRanks } from "@layerfold/linalg";
import { checkPaired, type Points, readPoints } from "./read-points.js";

/** Samples sorted into cells that hold about equally many samples of every margin. */
export interface RankHistogram {
  /** [samples] cell of each sample, 0 … cellCount − 1, empty cells left out. */
  readonly cell: Int32Array;
  readonly cellCount: number;
  /** Shannon entropy of the cell, nats, ≥ 0. */
  readonly entropy: number;
}

/** Cuts every coordinate into `binCount` bins of equally many samples; equal values are put in an order drawn from `rng`. */
export function rankHistogram(
  { values, count, dimensions }: Points,
  binCount: number,
  rng: Rng,
): RankHistogram {
  // Cells are numbered as they occur, coordinate by coordinate, so that many dimensions cannot overflow the number.
  let cell: Int32Array = new Int32Array(count);
  let cellCount = 1;
  for (let c = 0; c < dimensions; c++) {
    const ranks = randomTieRanks(
      Float64Array.from({ length: count }, (_, i) => values[i * dimensions + c]),
      rng,
    );
    const bin = Int32Array.from(ranks, (rank) => Math.floor((rank * binCount) / count));
    ({ cell, cellCount } = jointCells(cell, bin, binCount));
  }
  return { cell, cellCount, entropy: shannonEntropy(cell, cellCount) };
}

function jointCells(first: Int32Array, second: Int32Array, secondCount: number) {
  const numbers = new Map<number, number>();
  const cell = first.map((a, i) => {
    const key = a * secondCount + second[i];
    let number = numbers.get(key);
    if (number === undefined) {
      number = numbers.size;
      numbers.set(key, number);
    }
    return number;
  });
  return { cell, cellCount: numbers.size };
}

function shannonEntropy(cell: Int32Array, cellCount: number): number {
  const occupancy = new Int32Array(cellCount);
  for (const c of cell) occupancy[c]++;
  let entropy = 0;
  // Ascending, so that the sum does not depend on how the cells are numbered.
  for (const n of occupancy.sort()) entropy -= (n / cell.length) * Math.log(n / cell.length);
  return entropy;
}

/** Plug-in mutual information of two histograms of the same samples, H(X) + H(Y) − H(X, Y), nats; in [0, min(H(X), H(Y))]. */
export function histogramInformation(x: RankHistogram, y: RankHistogram): number {
  const { cell, cellCount } = jointCells(x.cell, y.cell, y.cellCount);
  const information = x.entropy + y.entropy - shannonEntropy(cell, cellCount);
  // A difference of equal sums may round below 0 or above an entropy.
  return Math.max(0, Math.min(information, x.entropy, y.entropy));
}

/**
 * Mutual information in nats of two vectors whose coordinates are cut into bins of equally many samples: the plug-in estimate H(X) + H(Y) −
 * H(X, Y). Never negative. Biased upwards by about (cells of the joint − cells of x − cells of y + 1) / 2n (Miller & Madow 1955), so keep
 * binCount^(dx + dy) well below the number of samples.
 *
 * @param x - [samples, dimensions]
 * @param y - [samples, dimensions of its own]
 * @param rng - orders equal values
 * @throws SAMPLES_TOO_FEW, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. O(d n log n).
 */
export function rankHistogramInformation(x: Matrix, y: Matrix, rng: Rng, { binCount = 4 } = {}): number {
  const xPoints = readPoints(x, binCount);
  const yPoints = readPoints(y, binCount);
  checkPaired(xPoints, yPoints);
  return histogramInformation(rankHistogram(xPoints, binCount, rng), rankHistogram(yPoints, binCount, rng));
}
