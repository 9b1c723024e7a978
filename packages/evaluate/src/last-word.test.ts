import { describe, expect, it } from "vitest";
import { bigramModel, ctx } from "./bigram-model.test.fixture.js";
import { characterTokenizer } from "./character-tokenizer.test.fixture.js";
import { lastWord } from "./last-word.js";

describe("lastWord", () => {
  it("counts words that greedy decoding spells, and gives their perplexity", async () => {
    const tokenizer = characterTokenizer();
    const table = Array.from({ length: 200 }, () => new Array(200).fill(0));
    const id = (token: string) => tokenizer.encode(token)[0];
    // After "x" most likely " o", after " o" most likely "k"; everything else alike.
    table[id("x")][id(" o")] = table[id(" x")][id(" o")] = 5;
    table[id(" o")][id("k")] = 5;
    const model = bigramModel(table);
    const likely = Math.log(Math.exp(5) + 199) - 5;
    const unlikely = Math.log(Math.exp(5) + 199);
    const result = await lastWord(
      model,
      tokenizer,
      ["a x ok", "x on", "b x ok \n"],
      { maxTokensPerBatch: 8 },
      ctx,
    );
    expect(result.acc).toMatchObject({ correct: 2, count: 3 });
    expect(result.perplexity).toBeCloseTo(Math.exp((likely * 5 + unlikely) / 3), 4);
  });

  it("refuses a text of one word, and no text at all", async () => {
    const model = bigramModel([[0]]);
    await expect(lastWord(model, characterTokenizer(), ["word"], {}, ctx)).rejects.toMatchObject({
      code: "TEXT_TOO_SHORT",
    });
    await expect(lastWord(model, characterTokenizer(), [], {}, ctx)).rejects.toMatchObject({
      code: "QUESTIONS_EMPTY",
    });
  });
});
