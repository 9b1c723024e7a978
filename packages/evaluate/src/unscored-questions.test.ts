import type { LanguageModel, RunContext } from "@layerfold/core";
import { expect, it } from "vitest";
import { bigramModel, ctx } from "./bigram-model.test.fixture.js";
import { characterTokenizer } from "./character-tokenizer.test.fixture.js";
import { choiceLikelihood } from "./choice-likelihood.js";
import { lastWord } from "./last-word.js";
import { multipleChoice } from "./multiple-choice.js";

const tokenizer = characterTokenizer();
const id = (text: string) => tokenizer.encode(text)[0];

/** After anything " a" is likeliest, then all else alike; but after this character, one logit is no number. */
function model(spoilt?: string): LanguageModel {
  const table = Array.from({ length: 200 }, () => new Array(200).fill(0).with(id(" a"), 5));
  if (spoilt) table[id(spoilt)][199] = Number.NaN;
  return bigramModel(table);
}

/** What a measure gives, and the warnings on the way. */
async function measured<T>(measure: (ctx: RunContext) => Promise<T>) {
  const told: unknown[] = [];
  const result = await measure({
    ...ctx,
    report: (event) => void (event.type === "diagnostic" && told.push(event)),
  });
  return { result, told };
}
const warning = (count: string) => [
  expect.objectContaining({
    severity: "warning",
    code: "QUESTIONS_NOT_FINITE",
    message: expect.stringContaining(count),
  }),
];

it("letters without a finite logit are counted as wrong, and told", async () => {
  const question = { subject: "", question: "?", choices: ["a", "b"], answer: 0 };
  const ask = (logit: number) =>
    measured((ctx) => {
      const table = Array.from({ length: 200 }, () => new Array(200).fill(0).with(id(" A"), logit));
      return multipleChoice(bigramModel(table), tokenizer, [question, question], {}, ctx);
    });
  expect(await ask(1)).toMatchObject({ result: { correct: 2 }, told: [] });
  for (const logit of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(await ask(logit)).toMatchObject({ result: { correct: 0 }, told: warning("2 of 2") });
});

it("so are choices without a finite likelihood, of one token and of several", async () => {
  const items = [
    { context: "x", choices: ["a", "b"], answer: 0 },
    { context: "y", choices: ["ab", "bc"], answer: 0 },
  ];
  const ask = (spoilt?: string) =>
    measured((ctx) => choiceLikelihood(model(spoilt), tokenizer, items, { name: "tests" }, ctx));
  const correct = (count: number) => ({
    acc: { correct: count },
    acc_norm: { correct: count },
    acc_bytes: { correct: count },
  });
  expect(await ask()).toMatchObject({ result: correct(2), told: [] });
  for (const spoilt of ["x", " a"])
    expect(await ask(spoilt)).toMatchObject({ result: correct(1), told: warning("tests: to 1 of 2") });
});

it("so are last words without a finite likelihood, be their token the likeliest", async () => {
  const guess = (spoilt?: string) =>
    measured((ctx) => lastWord(model(spoilt), tokenizer, ["x a", "y a"], {}, ctx));
  expect(await guess()).toMatchObject({ result: { acc: { correct: 2 } }, told: [] });
  expect(await guess("x")).toMatchObject({
    result: { acc: { correct: 1 }, perplexity: Number.NaN },
    told: warning("1 of 2"),
  });
});
