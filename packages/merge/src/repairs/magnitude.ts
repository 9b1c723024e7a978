import {
  anchorLayer,
  defineRepair,
  type Hidden,
  LayerfoldError,
  type RepairedBlock,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { firstReason } from "./block-linear.js";
import { eachToken, reportRepaired } from "./front-to-back.js";
import { hiddenStores } from "./hidden-store.js";
import { whyUpdatesStay, withScaledUpdates } from "./scaled-updates.js";

/**
 * One factor c for the stream behind every group that lost layers (Prune&Comp, arXiv 2507.18212): c = E‖Z‖ / E‖X‖, X the folded model's
 * stream behind the group, Z the dense one. The paper scales everything before the gap, the embedding too. Every part reads the stream
 * through a norm that forgets its size, so it is the same to divide what the blocks behind the gap add by c, which leaves the
 * embedding, and a head tied to it, as they are; only the norms' epsilon tells the two apart. Factors of several gaps multiply.
 *
 * `error` compares c times the stream to the dense one. With `mean-norm` it may grow, since the factor is not made for it; with
 * `least-squares`, c = Σ⟨X, Z⟩ / Σ‖X‖², it cannot.
 *
 * Cost: one run of both models. Memory: a few blocks and one batch.
 *
 * @throws CALIBRATION_EMPTY; UPDATE_NOT_SCALABLE where a norm stands on the stream; MAGNITUDE_INVALID when c is not positive
 */
export const magnitude = defineRepair({
  id: "magnitude",
  summary: "one factor for the stream behind removed layers (Prune&Comp)",
  optionsSchema: z.strictObject({
    estimate: z
      .enum(["mean-norm", "least-squares"])
      .default("mean-norm")
      .describe("the factor: ratio of the mean norms of both streams, or least squares"),
  }),
  create: ({ estimate }) => ({
    // What comes behind a fold is scaled.
    refuses: (layers) =>
      layers.length > 1 ? firstReason(layers, ({ spec }) => whyUpdatesStay(spec)) : undefined,
    async *fit(model, plan, folded, calibration, ctx): AsyncIterable<RepairedBlock> {
      const stores = await hiddenStores();
      try {
        const dense = await stores.create("dense");
        const own = await stores.create("folded");
        for await (const batch of calibration()) {
          const hidden = await model.embed(batch);
          await dense.put(dense.batchCount, hidden);
          await own.put(own.batchCount, hidden);
        }
        if (dense.batchCount === 0) {
          throw new LayerfoldError("CALIBRATION_EMPTY", "the calibration text gave no tokens");
        }
        /** What the folded stream must be multiplied by to be in the dense model's units. */
        let unit = 1;
        for (const [index, group] of plan.groups.entries()) {
          const block = withScaledUpdates(await folded(index), 1 / unit);
          const anchor = anchorLayer(group);
          const sums = { ownNorm: 0, denseNorm: 0, ownSquare: 0, denseSquare: 0, product: 0, values: 0 };
          for (let b = 0; b < dense.batchCount; b++) {
            throwIfAborted(ctx.signal);
            let target = await dense.get(b);
            for (const layer of group.layers) ({ hidden: target } = await model.runBlock(layer, target));
            const { hidden } = await model.runBlock(anchor, await own.get(b), { replace: block });
            await dense.put(b, target);
            await own.put(b, hidden);
            addTo(sums, hidden, target);
          }
          const error = (factor: number) =>
            (factor ** 2 * sums.ownSquare - 2 * factor * sums.product + sums.denseSquare) / sums.values;
          const before = error(unit);
          if (group.layers.length > 1) {
            unit = estimate === "mean-norm" ? sums.denseNorm / sums.ownNorm : sums.product / sums.ownSquare;
          }
          if (!(unit > 0 && Number.isFinite(unit))) {
            throw new LayerfoldError("MAGNITUDE_INVALID", "no factor brings the stream to the dense one", {
              wanted: "a positive factor",
              got: `${unit}`,
              where: `group ${index}`,
            });
          }
          reportRepaired(plan, index, ctx);
          yield { index, block, error: { before, after: error(unit) } };
        }
      } finally {
        await stores.close();
      }
    },
  }),
});

interface NormSums {
  ownNorm: number;
  denseNorm: number;
  ownSquare: number;
  denseSquare: number;
  product: number;
  values: number;
}

function addTo(sums: NormSums, own: Hidden, dense: Hidden) {
  const width = own.states.shape[2];
  const shift = dense.states.offset - own.states.offset;
  eachToken(own, (start) => {
    let [ownSquare, denseSquare, product] = [0, 0, 0];
    for (let i = start; i < start + width; i++) {
      const [x, z] = [own.states.data[i], dense.states.data[i + shift]];
      ownSquare += x * x;
      denseSquare += z * z;
      product += x * z;
    }
    sums.ownNorm += Math.sqrt(ownSquare);
    sums.denseNorm += Math.sqrt(denseSquare);
    sums.ownSquare += ownSquare;
    sums.denseSquare += denseSquare;
    sums.product += product;
    sums.values += width;
  });
}
