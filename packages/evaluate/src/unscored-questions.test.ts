import type { LanguageModel, RunContext } from "@layerfold/core";
import { expect, it } from "vitest";
import { bigramModel, ctx } from "./bigram-model.test.fixture.js";
import { characterTokenizer } from "./character-tokenizer.test.fixture.js";
import { askDocuments } from "./harness/ask-documents.js";
import type { TaskDocument } from "./harness/documents.js";
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

const asked = (requests: readonly (readonly [string, string])[]): TaskDocument => ({
  id: 0,
  row: {},
  target: 0,
  requests: requests.map(([context, continuation]) => ({ kind: "loglikelihood", context, continuation })),
});

it("continuations without a finite likelihood are null, and told", async () => {
  const documents = [
    asked([
      ["x", " a"],
      ["x", " b"],
    ]),
    asked([
      ["y", " ab"],
      ["y", " bc"],
    ]),
  ];
  const ask = (spoilt?: string) =>
    measured((ctx) =>
      askDocuments(model(spoilt), tokenizer, documents, { name: "tests", contextLength: 99 }, ctx),
    );
  const fine = await ask();
  expect(fine.told).toEqual([]);
  expect(fine.result.flat(2).filter((value) => value === null)).toEqual([]);
  expect(fine.result[0].map((response) => (response as [number, boolean])[1])).toEqual([true, false]);
  for (const [spoilt, index] of [
    ["x", 0],
    [" a", 1],
  ] as const) {
    const { result, told } = await ask(spoilt);
    expect(told).toEqual(warning("tests: to 1 of 2"));
    expect(result[index][0]).toMatchObject([null, expect.anything()]);
    expect(result[1 - index].flat()).not.toContain(null);
  }
});
