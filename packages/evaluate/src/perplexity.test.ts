import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bigramModel, ctx } from "./bigram-model.test.fixture.js";
import { perplexity } from "./perplexity.js";

const sequence = (ids: number[], scoredFrom = 1) => ({ ids: Int32Array.from(ids), scoredFrom });

describe("perplexity", () => {
  it("of a uniform model is the vocabulary size, however the text is cut", async () => {
    const uniform = bigramModel(Array.from({ length: 7 }, () => new Array(7).fill(0.3)));
    const text = [sequence([1, 2, 3]), sequence([4, 5]), sequence([6, 0, 1, 2, 3])];
    const result = await perplexity(uniform, text, { maxTokensPerBatch: 6 }, ctx);
    expect(result.perplexity).toBeCloseTo(7, 5);
    expect(result).toMatchObject({ tokens: 7, windows: 3 });
  });

  it("weights tokens, not windows: the geometric mean of 1/p over all targets", async () => {
    // p(next | last): from 0 one half each; from 1 one quarter and three quarters.
    const model = bigramModel([
      [0, 0],
      [0, Math.log(3)],
    ]);
    const result = await perplexity(model, [sequence([0, 1]), sequence([1, 1, 1, 0])], {}, ctx);
    const expected = (1 / 2) * (3 / 4) * (3 / 4) * (1 / 4);
    expect(result.negativeLogLikelihood).toBeCloseTo(-Math.log(expected), 6);
    expect(result.perplexity).toBeCloseTo(expected ** (-1 / 4), 6);
  });

  it("counts only the new tokens of overlapping windows: the same as one long window, for a model of one token's memory", async () => {
    const cell = fc.float({ min: -3, max: 3, noNaN: true });
    const table = fc.array(fc.array(cell, { minLength: 3, maxLength: 3 }), { minLength: 3, maxLength: 3 });
    const text = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 9, maxLength: 9 });
    await fc.assert(
      fc.asyncProperty(table, text, async (logits, ids) => {
        const model = bigramModel(logits);
        const whole = await perplexity(model, [sequence(ids)], {}, ctx);
        const windows = [
          sequence(ids.slice(0, 5)),
          sequence(ids.slice(2, 7), 3),
          sequence(ids.slice(4, 9), 3),
        ];
        const cut = await perplexity(model, windows, { maxTokensPerBatch: 10 }, ctx);
        expect(cut.tokens).toBe(8);
        expect(cut.negativeLogLikelihood).toBeCloseTo(whole.negativeLogLikelihood, 9);
      }),
      { numRuns: 30 },
    );
  });

  it("reports a model whose figures are not finite, and goes on", async () => {
    const codes: string[] = [];
    const report = (event: { type: string; code?: string }) => event.code && codes.push(event.code);
    const broken = bigramModel([[Number.NaN, Number.NaN]].concat([[0, 0]]));
    const result = await perplexity(broken, [sequence([0, 1])], {}, { ...ctx, report });
    expect(result.perplexity).toBeNaN();
    expect(codes).toEqual(["PERPLEXITY_NOT_FINITE"]);
  });

  it("refuses a text without a target, and stops when asked to", async () => {
    const model = bigramModel([[0]]);
    await expect(perplexity(model, [], {}, ctx)).rejects.toMatchObject({ code: "TEXT_EMPTY" });
    const stopped = { ...ctx, signal: AbortSignal.abort() };
    await expect(perplexity(model, [sequence([0, 0])], {}, stopped)).rejects.toMatchObject({
      code: "INTERRUPTED",
    });
  });
});
