import {
  type BlockView,
  contiguousData,
  groupName,
  type Matrix,
  type ModelRunner,
  type MoeSpec,
  type Role,
  type RunContext,
  tensor,
  zeros,
} from "@layerfold/core";
import { selectRows, specOf, storedWeight, transposed, weightOf, withTensors } from "./block-linear.js";
import type { CalibratedGroup } from "./front-to-back.js";
import {
  chooseRidge,
  emptySplit,
  type FitOptions,
  missingUpdate,
  ridgeFit,
  tokenScales,
} from "./least-squares.js";
import { addRows, gatherRows } from "./normal-equations.js";

/** Float64 values that the experts' Grams of one pass may take together. */
const gramValues = 2 ** 27;

/**
 * Refits the down projections of a mixture of experts, each by itself: what the block still misses, R = Z − the stream that it leaves, is
 * what every expert learns to add on the tokens that chose it, Δ = argmin Σ ‖A·Δᵀ − R‖² + λ‖Δ‖² over those tokens. A token's experts are
 * summed with weights that add up to 1, so that what each adds is added once. Router, gate and up stay.
 *
 * Cost: one run of the block per pass, and as many passes as it takes to hold the Grams of so many experts in a gigabyte.
 */
export async function refitExperts(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  { expertCount, intermediateSize }: MoeSpec,
  options: FitOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const spec = specOf(block);
  const output = { scale: spec.residualScale ?? 1 };
  const sizes = { features: intermediateSize, targets: model.hiddenSize };
  const perPass = Math.max(1, Math.floor(gramValues / intermediateSize ** 2));
  const refitted: [Role, ReturnType<typeof storedWeight>][] = [];
  for (let first = 0; first < expertCount; first += perPass) {
    const experts = Array.from({ length: Math.min(perPass, expertCount - first) }, (_, i) => first + i);
    const fits = new Map(experts.map((expert) => [expert, { ...emptySplit(sizes, options), tokens: 0 }]));
    for await (const { input, target, heldOut } of group.batches()) {
      const { hidden, taps } = await model.runBlock(group.anchor, input, {
        replace: block,
        taps: experts.map((expert) => `experts.${expert}.hidden` as const),
      });
      const scales = tokenScales(target, options.tokenWeighting);
      const missing = gatherRows([missingUpdate(target, hidden.states, output)], target.lengths, scales);
      for (const [expert, fit] of fits) {
        const all = gatherRows([taps.get(`experts.${expert}.hidden`)!], target.lengths, scales);
        const chosen = rowsWithValues(all);
        if (chosen.length === 0) continue;
        fit.tokens += chosen.length;
        await addRows(
          heldOut ? fit.heldOut : fit.seen,
          selectRows(all, chosen),
          selectRows(missing, chosen),
          ctx,
        );
      }
    }
    for (const [expert, fit] of fits) {
      if (fit.tokens === 0) continue;
      const role = `experts.${expert}.down` as const;
      const nothing = zeros([intermediateSize, model.hiddenSize], "float64");
      const where = `${groupName(group)}, expert ${expert}`;
      const { equations, ridge } = await chooseRidge({ ...fit, where }, nothing, options, ctx);
      const change = contiguousData(transposed(await ridgeFit(equations, nothing, ridge, ctx)));
      const { data, shape } = weightOf(block, role);
      const sum = tensor(
        data.map((weight, i) => weight + change[i]),
        shape,
      );
      refitted.push([role, storedWeight(spec, sum)]);
    }
  }
  return withTensors(block, refitted);
}

/** Rows that are not all 0: a token's hidden activations are, in experts that it did not choose. */
function rowsWithValues({ data, shape }: Matrix<Float32Array>): number[] {
  const [rows, width] = shape;
  return Array.from({ length: rows }, (_, r) => r).filter((r) =>
    data.subarray(r * width, (r + 1) * width).some((value) => value !== 0),
  );
}
