import {
  type BlockView,
  type Matrix,
  type ModelRunner,
  type RunContext,
  type Tensor,
  tensor,
} from "@layerfold/core";
import type { CalibratedGroup } from "./front-to-back.js";
import { type FitOptions, missingUpdate, tokenScales } from "./least-squares.js";
import { identity, withMappedUpdate } from "./mapped-update.js";
import { mlpOf, streamWithoutMlp } from "./neurons.js";
import { gatherRows } from "./normal-equations.js";

/** Σ m² and Σ m·r per channel, of the batches that fit and of those that judge. */
interface ChannelSums {
  readonly squares: Float64Array;
  readonly products: Float64Array;
}

/**
 * Fits a map of the form H·diag(d)·Hᵀ on what a block's MLP adds to the stream, H = `rotationOf(hiddenSize)` orthogonal (absent: the
 * identity), and moves it into the down projection: d = argmin ‖(M·H)·diag(d) − (Z − Y)·H‖² + λ‖d − 1‖², M the MLP's update, Y the stream before it, Z the dense
 * stream behind the group. Channel by channel that is d_k = (Σ m_k r_k + λ) / (Σ m_k² + λ).
 */
export async function fitDiagonalMap(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  rotationOf: ((size: number) => Matrix<Float64Array>) | undefined,
  options: FitOptions,
  ctx: RunContext,
): Promise<BlockView> {
  if (group.layers.length === 1) return block;
  mlpOf(block);
  const size = model.hiddenSize;
  const sums = (): ChannelSums => ({ squares: new Float64Array(size), products: new Float64Array(size) });
  const rotation = rotationOf?.(size);
  const single =
    rotation && (tensor(Float32Array.from(rotation.data), rotation.shape) as Matrix<Float32Array>);
  const seen = sums();
  const heldOut = sums();
  const beside = streamWithoutMlp(block);
  for await (const { input, target, heldOut: judges } of group.batches()) {
    const { taps } = await model.runBlock(group.anchor, input, {
      replace: block,
      taps: ["mlp.update", ...beside.taps],
      tapsOnly: true,
    });
    const update = taps.get("mlp.update")!;
    const scales = tokenScales(target, options.tokenWeighting);
    const rotated = async (rows: Tensor<Float32Array>) => {
      const gathered = gatherRows([rows], target.lengths, scales);
      return single ? ctx.engine.matmul(gathered, single) : gathered;
    };
    const features = await rotated(update);
    const wanted = await rotated(missingUpdate(target, beside.stream(input, taps), { scale: 1 }));
    const { squares, products } = judges ? heldOut : seen;
    for (let i = 0; i < features.data.length; i++) {
      squares[i % size] += features.data[i] ** 2;
      products[i % size] += features.data[i] * wanted.data[i];
    }
  }
  const diagonal = settled(seen, heldOut, options.ridge);
  const { data, shape } = rotation ?? identity(size);
  const scaled = tensor(
    data.map((x, i) => x * diagonal[i % size]),
    shape,
  ) as Matrix<Float64Array>;
  const map = rotation ? await ctx.engine.matmul(scaled, rotation, { transposeB: true }) : scaled;
  return withMappedUpdate(block, "mlp.down", map, ctx);
}

/** The diagonal of the ridge that the held-out batches choose, fitted on all. */
function settled(seen: ChannelSums, heldOut: ChannelSums, ridges: readonly number[]): Float64Array {
  let best = { ridge: ridges[0], error: Number.POSITIVE_INFINITY };
  for (const ridge of ridges) {
    const error = solve(seen, ridge).reduce(
      (sum, d, k) => sum + d * (d * heldOut.squares[k] - 2 * heldOut.products[k]),
      0,
    );
    if (error < best.error) best = { ridge, error };
  }
  const all = {
    squares: seen.squares.map((x, k) => x + heldOut.squares[k]),
    products: seen.products.map((x, k) => x + heldOut.products[k]),
  };
  return solve(all, best.ridge);
}

function solve({ squares, products }: ChannelSums, ridge: number): Float64Array {
  const lambda = (ridge * squares.reduce((sum, x) => sum + x, 0)) / squares.length;
  return squares.map((square, k) => (square + lambda === 0 ? 1 : (products[k] + lambda) / (square + lambda)));
}
