import type { TokenBatch } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { bigramModel, ctx } from "./bigram-model.test.fixture.js";
import { klToDense } from "./kl-to-dense.js";
import { perplexity } from "./perplexity.js";
import { rememberedLogits } from "./remembered-logits.js";

const sequence = (ids: number[], scoredFrom = 1) => ({ ids: Int32Array.from(ids), scoredFrom });

describe("klToDense", () => {
  it("is the mean over scored tokens of Σ p log(p/q)", async () => {
    // After token 0: p = (1/2, 1/2), q = (1/4, 3/4). After token 1 both models agree.
    const dense = bigramModel([
      [5, 5],
      [1, 2],
    ]);
    const folded = bigramModel([
      [0, Math.log(3)],
      [1, 2],
    ]);
    const perZero = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
    // Predictions scored: after 0, after 1 | after 0 | after 0 (the first target of the last sequence does not count).
    const text = [sequence([0, 1, 1]), sequence([0, 0]), sequence([1, 0, 1], 2)];
    const result = await klToDense(dense, folded, text, { maxTokensPerBatch: 3 }, ctx);
    expect(result.tokens).toBe(4);
    expect(result.klToDense).toBeCloseTo((3 * perZero) / 4, 6);
    // Of the two equal ones after token 0 the first counts: there the models differ.
    expect(result.top1Agreement).toBe(1 / 4);
    // The folded model's perplexity comes along, as `perplexity` gives it.
    const alone = await perplexity(folded, text, {}, ctx);
    expect(result.perplexity).toBeCloseTo(alone.perplexity, 6);
    expect(result.windows).toBe(3);
  });

  it("is zero for a model and itself, whatever constant is added to the logits", async () => {
    const dense = bigramModel([
      [1, -2, 0.5],
      [0, 1, 2],
      [9, 9, -9],
    ]);
    const shifted = bigramModel([
      [101, 98, 100.5],
      [-7, -6, -5],
      [12, 12, -6],
    ]);
    const result = await klToDense(dense, shifted, [sequence([0, 1, 2, 1])], {}, ctx);
    expect(Math.abs(result.klToDense)).toBeLessThan(1e-6);
    expect(result.top1Agreement).toBe(1);
  });

  it("asks a remembered dense model once per batch, and no more once the memory is full", async () => {
    let asked = 0;
    const model = bigramModel([
      [5, 5],
      [1, 2],
    ]);
    const counting = {
      ...model,
      logits(batches: readonly TokenBatch[]) {
        asked += batches.length;
        return model.logits(batches);
      },
    };
    const text = [sequence([0, 1, 1]), sequence([0, 0, 1, 1])];
    const once = rememberedLogits(counting, 1e6);
    const values = [];
    for (let time = 0; time < 3; time++) values.push(await klToDense(once, model, text, {}, ctx));
    expect(asked).toBe(1);
    expect(values[2]).toEqual(values[0]);
    const forgetful = rememberedLogits(counting, 1);
    for (let time = 0; time < 3; time++) await klToDense(forgetful, model, text, {}, ctx);
    expect(asked).toBe(4);
  });

  it("refuses models of other vocabularies", async () => {
    await expect(
      klToDense(
        bigramModel([[0]]),
        bigramModel([
          [0, 0],
          [0, 0],
        ]),
        [],
        {},
        ctx,
      ),
    ).rejects.toMatchObject({
      code: "VOCABULARY_DIFFERS",
    });
  });
});
