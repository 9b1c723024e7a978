import { type BlockView, contiguousData, type Matrix, type ModelRunner, tensor } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { describe, expect, it } from "vitest";
import { llama, withModel } from "../tiny-models.test.fixture.js";
import { stackRows, transposed, weightOf, withTensors } from "./block-linear.js";
import { componentFold } from "./component-fold.js";
import { headGroupsOf, headOutputs } from "./heads.js";
import { joinNeurons, neuronsOf } from "./neurons.js";
import { batches, middlePair, repairedBlocks } from "./repaired-blocks.test.fixture.js";

/** The model with some of its blocks changed. */
function changed(model: ModelRunner, change: (view: BlockView) => BlockView): ModelRunner {
  const block = async (layer: number) => change(await model.block(layer));
  return {
    ...model,
    block,
    runBlock: async (layer, input, options) =>
      model.runBlock(layer, input, { ...options, replace: options?.replace ?? (await block(layer)) }),
  };
}

const rowsOf = ({ data, shape }: Matrix) =>
  Array.from({ length: shape[0] }, (_, i) =>
    Array.from(data.subarray(i * shape[1], (i + 1) * shape[1])).join(),
  );

/** Tokens' rows of [batch, sequence, width], padding left out. */
function tokenRows(data: Float32Array, width: number, lengths: Int32Array, sequenceLength: number) {
  return Array.from(lengths).flatMap((length, b) =>
    Array.from({ length }, (_, s) => {
      const at = (b * sequenceLength + s) * width;
      return Array.from(data.subarray(at, at + width));
    }),
  );
}

/** Largest entry of AᵀA·W + λ(W − W₀) − AᵀT, which is 0 at the ridge fit's minimum, over the largest of λ(W − W₀). */
function imbalance(a: number[][], t: number[][], w: number[][], prior: number[][], ridge: number): number {
  const square = a.reduce((sum, row) => sum + row.reduce((s, x) => s + x * x, 0), 0);
  const lambda = (ridge * square) / w.length;
  let [worst, size] = [0, 0];
  // AᵀA·W − AᵀT = Aᵀ(A·W − T)
  const residual = a.map((row, n) =>
    t[n].map((wanted, c) => row.reduce((sum, x, f) => sum + x * w[f][c], -wanted)),
  );
  for (let f = 0; f < w.length; f++) {
    for (let c = 0; c < t[0].length; c++) {
      const pull = lambda * (w[f][c] - prior[f][c]);
      const slope = a.reduce((sum, row, n) => sum + row[f] * residual[n][c], 0);
      worst = Math.max(worst, Math.abs(slope + pull));
      size = Math.max(size, Math.abs(pull));
    }
  }
  return worst / size;
}

const numbers = (matrix: Matrix) => rowsOf(matrix).map((row) => row.split(",").map(Number));

describe("component-fold's last fit", () => {
  // argmin ‖A·W − T‖² + λ‖W − W₀‖², λ = ridge · mean diagonal of the chosen features' Gram: its gradient vanishes at that λ alone. 1e-3
  // is what float32 leaves of it; a tenth of λ would leave 0.9.
  it.each(["float64", "float32"] as const)(
    "of the neurons, chosen in %s, is the ridge fit towards the chosen neurons' own projections",
    async (gramPrecision) => {
      await withModel(llama, async (checkpoint) => {
        const model = await openRunner(checkpoint);
        const ridge = 0.3;
        const repair = componentFold({
          heads: "none",
          ridge: [ridge],
          gramPrecision,
          tokenWeighting: "none",
          refitSingles: false,
        });
        const { block } = (await repairedBlocks(repair, model, middlePair))[1];
        const candidates = joinNeurons([neuronsOf(await model.block(1)), neuronsOf(await model.block(2))]);
        const own = neuronsOf(block);
        const names = rowsOf(candidates.gate!);
        const chosen = rowsOf(own.gate!).map((row) => names.indexOf(row));
        expect(Math.min(...chosen)).toBeGreaterThanOrEqual(0);
        const priors = numbers(candidates.down);

        const [a, t]: number[][][] = [[], []];
        for (const batch of batches) {
          const { hidden: input } = await model.runBlock(0, await model.embed(batch));
          const { hidden: target } = await model.runBlock(2, (await model.runBlock(1, input)).hidden);
          const { taps } = await model.runBlock(1, input, {
            replace: block,
            taps: ["mlp.hidden", "residual.mid"],
          });
          const rows = (data: Float32Array, width: number) =>
            tokenRows(data, width, batch.lengths, batch.sequenceLength);
          const mid = rows(taps.get("residual.mid")!.data, 32);
          a.push(...rows(taps.get("mlp.hidden")!.data, 40));
          t.push(...rows(target.states.data, 32).map((row, n) => row.map((x, c) => x - mid[n][c])));
        }
        const wanted = chosen.map((i) => priors[i]);
        expect(imbalance(a, t, numbers(own.down), wanted, ridge)).toBeLessThan(1e-3);
        await model.close();
      });
    },
  );

  it("of the heads is the ridge fit towards the chosen heads' own projections", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const headRidge = 0.3;
      const repair = componentFold({
        heads: "sum",
        headRidge: [headRidge],
        tokenWeighting: "none",
        refitSingles: false,
      });
      const { block } = (await repairedBlocks(repair, model, middlePair))[1];
      const layers = [await model.block(1), await model.block(2)];
      const nameOf = (group: ReturnType<typeof headGroupsOf>[number]) => rowsOf(group.value.weight).join();
      const names = layers.flatMap(headGroupsOf).map(nameOf);
      const chosen = headGroupsOf(block).map((group) => names.indexOf(nameOf(group)));
      expect(Math.min(...chosen)).toBeGreaterThanOrEqual(0);
      const priors = numbers(stackRows(layers.map(headOutputs)));
      // Two query heads of 8 values to a key/value group.
      const wanted = chosen.flatMap((g) => priors.slice(16 * g, 16 * (g + 1)));

      const [a, t]: number[][][] = [[], []];
      for (const batch of batches) {
        const { hidden: input } = await model.runBlock(0, await model.embed(batch));
        const first = await model.runBlock(1, input, { taps: ["attention.update"] });
        const second = await model.runBlock(2, first.hidden, { taps: ["attention.update"] });
        const { taps } = await model.runBlock(1, input, { replace: block, taps: ["attention.heads"] });
        const rows = (data: Float32Array, width: number) =>
          tokenRows(data, width, batch.lengths, batch.sequenceLength);
        const other = rows(second.taps.get("attention.update")!.data, 32);
        a.push(...rows(taps.get("attention.heads")!.data, 32));
        t.push(
          ...rows(first.taps.get("attention.update")!.data, 32).map((row, n) =>
            row.map((x, c) => x + other[n][c]),
          ),
        );
      }
      const weights = numbers(stackRows([transposed(weightOf(block, "attention.output"))]));
      expect(imbalance(a, t, weights, wanted, headRidge)).toBeLessThan(1e-3);
      await model.close();
    });
  });
});

describe("component-fold's choice of neurons", () => {
  it("keeps one of two equal neurons, however little each alone would be missed", async () => {
    // Layers 1 and 2 hold one neuron that is the same and matters most, and one each that hardly matters. Either of the equal two can say
    // what both say, so each alone is worth next to nothing; only saliencies taken anew after one is gone tell that the other must stay.
    await withModel({ ...llama, intermediate_size: 2 }, async (checkpoint) => {
      const dense = await openRunner(checkpoint);
      const first = await dense.block(1);
      const row = (layer: BlockView, role: string, i: number) =>
        contiguousData(layer.tensors.get(role)!).subarray(32 * i, 32 * (i + 1));
      const model = changed(dense, (view) => {
        if (view.layer !== 1 && view.layer !== 2) return view;
        const minor = view.layer === 1 ? 0.02 : 0.01;
        const matrix = (role: string) =>
          tensor(Float32Array.from([...row(first, role, 0), ...row(view, role, 1)]), [2, 32]);
        // [hidden, neurons]: the shared neuron adds to channel 0, the others a little to channels 1 and 2.
        const down = new Float32Array(64);
        down[0] = 1;
        down[2 * view.layer + 1] = minor;
        return withTensors(view, [
          ["mlp.gate", matrix("mlp.gate")],
          ["mlp.up", matrix("mlp.up")],
          ["mlp.down", tensor(down, [32, 2])],
          ["attention.output", tensor(new Float32Array(32 * 32), [32, 32])],
          [view.spec!.feedForwardNorm!.weight!, tensor(new Float32Array(32).fill(1))],
        ]);
      });
      const repair = componentFold({ heads: "none", ridge: [1e-6], refitSingles: false });
      const { block } = (await repairedBlocks(repair, model, middlePair))[1];
      const gates = (view: BlockView) => rowsOf(neuronsOf(view).gate!);
      const [shared] = gates(await model.block(1));
      expect(gates(await model.block(2))[0]).toBe(shared);
      expect(gates(block).filter((gate) => gate === shared)).toHaveLength(1);
      await dense.close();
    });
  });
});

describe("component-fold in float32", () => {
  it("chooses the neurons that float64 does, and says so", async () => {
    await withModel(llama, async (checkpoint) => {
      const model = await openRunner(checkpoint);
      const fold = async (gramPrecision: "float32" | "float64") => {
        const codes: string[] = [];
        const repair = componentFold({ heads: "none", gramPrecision, refitSingles: false });
        const blocks = await repairedBlocks(repair, model, middlePair, undefined, (event) => {
          if (event.type === "diagnostic") codes.push(event.code);
        });
        const { block } = blocks[1];
        return { gates: rowsOf(neuronsOf(block).gate!), down: neuronsOf(block).down.data, codes };
      };
      const [double, single] = [await fold("float64"), await fold("float32")];
      expect(single.gates).toEqual(double.gates);
      // Both fit what they chose in float64, from Grams of the same activations.
      single.down.forEach((value, i) => {
        expect(value).toBeCloseTo(double.down[i], 5);
      });
      expect(double.codes).not.toContain("GRAM_SINGLE_PRECISION");
      expect(single.codes).toContain("GRAM_SINGLE_PRECISION");
      await model.close();
    });
  });
});
