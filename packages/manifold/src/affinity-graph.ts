import { LayerfoldError, type Matrix, matrixSize, type RunContext } from "@layerfold/core";
import { nearestNeighbors, orderStatistic, squaredDistances, squaredDistancesTo } from "@layerfold/linalg";
import { type Affinity, denseAffinity, sparseAffinity } from "./affinity.js";
import { type BandwidthRule, bandwidthByRule, type DistanceSample } from "./bandwidth.js";
import { type KernelName, kernels } from "./kernel.js";

export interface AffinityGraphOptions {
  readonly kernel: KernelName;
  /** σ (`mka`) or ε (`gaussian`), or how to find it; `self-tuning` has no use for it. */
  readonly bandwidth: number | BandwidthRule;
  /** The neighbour whose distance is a point's scale (`self-tuning`) or enters the rule `neighbor`. */
  readonly neighborCount: number;
  /** Keep only affinities to that many nearest neighbours of either point; absent for all. */
  readonly graphNeighborCount?: number | undefined;
}

/** Affinities among the points, and from new points to them. */
export interface AffinityGraph {
  readonly affinity: Affinity;
  /** @param queries - [queries, features]; returns [queries, size] affinities */
  affinitiesFrom(queries: Matrix, ctx: RunContext): Promise<Matrix>;
}

/** Tile edge that keeps a block of rows and the mirrored block of columns in cache. */
const tile = 64;

/**
 * The graph of affinities K_ij of the points, dense or restricted to nearest neighbours (a pair stays when either point is among the
 * other's nearest). Affinities from a training point, passed as a query, are its row of K again.
 *
 * @param points - [samples, features]
 * @throws SAMPLES_TOO_FEW, POINTS_NOT_FINITE, POINTS_IDENTICAL, BANDWIDTH_ZERO
 */
export function affinityGraph(
  points: Matrix,
  options: AffinityGraphOptions,
  ctx: RunContext,
): Promise<AffinityGraph> {
  const { rows } = matrixSize(points, "points");
  const neighborCount = Math.max(
    usesNeighbors(options) ? options.neighborCount : 0,
    options.graphNeighborCount ?? 0,
  );
  if (rows < neighborCount + 1) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", `too few samples for ${neighborCount} neighbours`, {
      wanted: `at least ${neighborCount + 1}`,
      got: `${rows}`,
    });
  }
  return options.graphNeighborCount === undefined
    ? denseGraph(points, options, ctx)
    : sparseGraph(points, options, options.graphNeighborCount, ctx);
}

function usesNeighbors({ kernel, bandwidth }: AffinityGraphOptions): boolean {
  return kernel === "self-tuning" || bandwidth === "neighbor";
}

async function denseGraph(
  points: Matrix,
  options: AffinityGraphOptions,
  ctx: RunContext,
): Promise<AffinityGraph> {
  const matrix = await squaredDistances(points, ctx);
  const { data } = matrix;
  const size = matrix.shape[0];
  checkDistinct(data);
  // The point itself, at distance 0, has place 0 in its row.
  const neighborDistances = () =>
    Float64Array.from({ length: size }, (_, i) =>
      orderStatistic(data.subarray(i * size, (i + 1) * size), options.neighborCount),
    );
  const scales = pointScales(options, {
    size,
    neighbors: neighborDistances,
    get pairs() {
      const pairs = new Float64Array((size * (size - 1)) / 2);
      for (let i = 0, to = 0; i < size; i++)
        for (let j = i + 1; j < size; j++) pairs[to++] = data[i * size + j];
      return pairs;
    },
  });
  const kernel = kernels[options.kernel];
  for (let i0 = 0; i0 < size; i0 += tile) {
    for (let j0 = i0; j0 < size; j0 += tile) {
      for (let i = i0; i < Math.min(i0 + tile, size); i++) {
        for (let j = Math.max(i, j0); j < Math.min(j0 + tile, size); j++) {
          const value = kernel(data[i * size + j], scales.of(i) * scales.of(j));
          data[i * size + j] = value;
          data[j * size + i] = value;
        }
      }
    }
  }
  return { affinity: denseAffinity(matrix, ctx), affinitiesFrom: affinitiesTo(points, options, scales) };
}

async function sparseGraph(
  points: Matrix,
  options: AffinityGraphOptions,
  graphNeighborCount: number,
  ctx: RunContext,
): Promise<AffinityGraph> {
  const size = points.shape[0];
  const width = Math.max(graphNeighborCount, usesNeighbors(options) ? options.neighborCount : 0);
  const { indices, squaredDistances: squared } = await nearestNeighbors(points, width, ctx);
  const column = (k: number) => Float64Array.from({ length: size }, (_, i) => squared[i * width + k]);
  const rows = unionRows(indices, squared, size, width, graphNeighborCount);
  checkDistinct(rows.values);
  const scales = pointScales(options, {
    size,
    neighbors: () => column(options.neighborCount - 1),
    get pairs() {
      const pairs: number[] = [];
      for (let i = 0; i < size; i++) {
        for (let k = rows.starts[i]; k < rows.starts[i + 1]; k++)
          if (rows.columns[k] > i) pairs.push(rows.values[k]);
      }
      return Float64Array.from(pairs);
    },
  });
  const kernel = kernels[options.kernel];
  for (let i = 0; i < size; i++) {
    for (let k = rows.starts[i]; k < rows.starts[i + 1]; k++) {
      rows.values[k] = kernel(rows.values[k], scales.of(i) * scales.of(rows.columns[k]));
    }
  }
  const radii = column(graphNeighborCount - 1);
  return {
    affinity: sparseAffinity(rows),
    affinitiesFrom: affinitiesTo(points, options, scales, { radii, graphNeighborCount }),
  };
}

/** Squared distances of the pairs of which either is among the other's nearest, and of every point to itself, by rows. */
function unionRows(
  indices: Int32Array,
  squared: Float64Array,
  size: number,
  width: number,
  neighborCount: number,
) {
  const rows = Array.from({ length: size }, (_, i) => new Map([[i, 0]]));
  for (let i = 0; i < size; i++) {
    for (let k = i * width; k < i * width + neighborCount; k++) {
      // One of the two directions decides, so that rounding can't make the graph asymmetric.
      const value = rows[indices[k]].get(i) ?? squared[k];
      rows[i].set(indices[k], value);
      rows[indices[k]].set(i, value);
    }
  }
  const starts = new Int32Array(size + 1);
  rows.forEach((row, i) => {
    starts[i + 1] = starts[i] + row.size;
  });
  const columns = new Int32Array(starts[size]);
  const values = new Float64Array(starts[size]);
  rows.forEach((row, i) => {
    columns.set([...row.keys()], starts[i]);
    values.set([...row.values()], starts[i]);
  });
  return { starts, columns, values };
}

/** What the kernel is given for a pair: the product of two numbers, one for each point. */
interface PointScales {
  of(i: number): number;
  /** The scale of a new point from its squared distances to all training points. */
  ofQuery(squaredDistances: Matrix["data"]): number;
}

function pointScales(options: AffinityGraphOptions, sample: DistanceSample): PointScales {
  if (options.kernel === "self-tuning") {
    const scales = sample.neighbors().map(Math.sqrt);
    const zero = scales.indexOf(0);
    if (zero >= 0) {
      throw new LayerfoldError(
        "BANDWIDTH_ZERO",
        "a sample has that many duplicates, so its local scale is 0",
        {
          wanted: "a larger neighborCount, or distinct samples",
          got: `neighborCount ${options.neighborCount}`,
          where: `row ${zero}`,
        },
      );
    }
    return {
      of: (i) => scales[i],
      ofQuery: (squaredDistances) => Math.sqrt(orderStatistic(squaredDistances, options.neighborCount)),
    };
  }
  const bandwidth =
    typeof options.bandwidth === "number"
      ? options.bandwidth
      : bandwidthByRule(options.bandwidth, options.kernel, sample);
  const scale = Math.sqrt(bandwidth);
  return { of: () => scale, ofQuery: () => scale };
}

/** Affinities of queries to the points; with radii, only of pairs of which either lies within the other's. */
function affinitiesTo(
  points: Matrix,
  options: AffinityGraphOptions,
  scales: PointScales,
  sparse?: { readonly radii: Float64Array; readonly graphNeighborCount: number },
): AffinityGraph["affinitiesFrom"] {
  const kernel = kernels[options.kernel];
  let distancesTo: ReturnType<typeof squaredDistancesTo> | undefined;
  return async (queries, ctx) => {
    distancesTo ??= squaredDistancesTo(points);
    const matrix = await distancesTo(queries, ctx);
    const [rows, size] = matrix.shape;
    for (let i = 0; i < rows; i++) {
      const row = matrix.data.subarray(i * size, (i + 1) * size);
      const scale = scales.ofQuery(row);
      const radius = sparse ? orderStatistic(row, sparse.graphNeighborCount) : 0;
      for (let j = 0; j < size; j++) {
        const outside = sparse !== undefined && row[j] > radius && row[j] > sparse.radii[j];
        row[j] = outside ? 0 : kernel(row[j], scale * scales.of(j));
      }
    }
    return matrix;
  };
}

function checkDistinct(squaredDistances: Matrix["data"]): void {
  if (squaredDistances.some((squared) => squared > 0)) return;
  throw new LayerfoldError("POINTS_IDENTICAL", "all samples coincide: there is nothing to embed", {
    wanted: "samples that differ",
    where: "points",
  });
}
