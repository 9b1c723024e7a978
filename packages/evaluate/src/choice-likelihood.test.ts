import { describe, expect, it } from "vitest";
import { bigramModel, ctx } from "./bigram-model.test.fixture.js";
import { characterTokenizer } from "./character-tokenizer.test.fixture.js";
import { choiceLikelihood } from "./choice-likelihood.js";

describe("choiceLikelihood", () => {
  it("sums, divides by characters and divides by bytes, each of which prefers another choice here", async () => {
    const tokenizer = characterTokenizer();
    const table = Array.from({ length: 200 }, () => new Array(200).fill(-40));
    const id = (token: string) => tokenizer.encode(token)[0];
    /** Sets log p(next | last); the rest of the probability goes to a token that nothing else uses. */
    const say = (last: string, next: Record<string, number>) => {
      const row = table[id(last)];
      for (const [token, value] of Object.entries(next)) row[id(token)] = value;
      row[199] = Math.log(1 - Object.values(next).reduce((sum, x) => sum + Math.exp(x), 0));
    };
    say(":", { " a": -2, " b": -1, " é": -1.2 });
    say(" b", { c: -1 });
    say("c", { d: -1 });
    say(" é", { é: -1.2 });
    // Sums −2, −3, −2.4; by characters −2, −1, −1.2; by bytes −2, −1, −0.6.
    const choices = ["a", "bcd", "éé"];
    const chosen = { acc: 0, acc_norm: 1, acc_bytes: 2 } as const;
    const items = choices.map((subject, answer) => ({ context: "Q: ", choices, answer, subject }));
    const scores = await choiceLikelihood(
      bigramModel(table),
      tokenizer,
      items,
      { maxTokensPerBatch: 12 },
      ctx,
    );
    for (const name of ["acc", "acc_norm", "acc_bytes"] as const) {
      const right = choices.map((subject) => scores[name].bySubject[subject].correct);
      expect(right, name).toEqual(choices.map((_, i) => Number(i === chosen[name])));
    }
  });

  it("refuses an empty list", async () => {
    await expect(
      choiceLikelihood(bigramModel([[0]]), characterTokenizer(), [], {}, ctx),
    ).rejects.toMatchObject({
      code: "QUESTIONS_EMPTY",
    });
  });
});

it("takes the first of equally likely choices, as numpy's argmax in lm-evaluation-harness does", async () => {
  // All next tokens are equally likely, so choices of one length score alike by every measure: in one row of logits, and token by token.
  const uniform = bigramModel(Array.from({ length: 200 }, () => new Array(200).fill(0)));
  for (const choices of [
    ["a", "b", "c"],
    ["ab", "cd", "ef"],
  ]) {
    const items = choices.map((_, answer) => ({ context: "Q:", choices, answer }));
    const scores = await choiceLikelihood(uniform, characterTokenizer(), items, {}, ctx);
    expect(scores.chosen).toEqual({ acc: [0, 0, 0], acc_norm: [0, 0, 0] });
    for (const name of ["acc", "acc_norm", "acc_bytes"] as const) expect(scores[name].correct).toBe(1);
  }
});
