import { describe, expect, it } from "vitest";
import { bigramModel, ctx, watched } from "./bigram-model.test.fixture.js";
import { characterTokenizer } from "./character-tokenizer.test.fixture.js";
import { answeredQuestions, choicePrompt, multipleChoice } from "./multiple-choice.js";

const question = (subject: string, answer: number) => ({
  subject,
  question: "Where is it? ",
  choices: ["mill", "inn", "barn", "well"],
  answer,
});

it("writes the prompt that the model card describes", () => {
  expect(choicePrompt(question("s", 0))).toBe(
    "Question: Where is it?\nA. mill\nB. inn\nC. barn\nD. well\nAnswer:",
  );
});

describe("multipleChoice", () => {
  it("takes the letter of largest logit among the choices, and counts by subject", async () => {
    const tokenizer = characterTokenizer();
    // A model that after ":" would rather say anything else, then C, then the other letters.
    const after = new Array(200).fill(5);
    for (const [name, logit] of [
      ["A", 1],
      ["B", 2],
      ["C", 3],
      ["D", 0],
    ] as const) {
      after[tokenizer.encode(` ${name}`)[0]] = logit;
    }
    const model = bigramModel(Array.from({ length: 200 }, () => after));
    const questions = [
      question("x", 2),
      question("x", 1),
      question("y", 2),
      question("y", 2),
      question("y", 0),
    ];
    const result = await multipleChoice(model, tokenizer, questions, {}, ctx);
    expect(result).toMatchObject({ correct: 3, count: 5, accuracy: 0.6 });
    // sqrt(0.6 · 0.4 / 4)
    expect(result.stderr).toBeCloseTo(Math.sqrt(0.06), 12);
    expect(result.bySubject.x).toMatchObject({ correct: 1, count: 2, accuracy: 0.5, stderr: 0.5 });
    expect(result.bySubject.y).toMatchObject({ correct: 2, count: 3 });
  });

  it("looks only at the letters that a question has", async () => {
    const tokenizer = characterTokenizer();
    const after = new Array(200).fill(0);
    after[tokenizer.encode(" D")[0]] = 9;
    after[tokenizer.encode(" B")[0]] = 1;
    const model = bigramModel(Array.from({ length: 200 }, () => after));
    const two = { subject: "", question: "?", choices: ["no", "yes"], answer: 1 };
    const result = await multipleChoice(model, tokenizer, [two, question("", 3)], {}, ctx);
    expect(result.correct).toBe(2);
  });

  it("keeps the end of prompts that are too long, and counts them", async () => {
    const tokenizer = characterTokenizer();
    const { model, seen } = watched(bigramModel(Array.from({ length: 200 }, () => new Array(200).fill(0))));
    const short = { subject: "", question: "?", choices: ["a", "b"], answer: 0 };
    const questions = [short, { ...short, question: "a long one?" }];
    const whole = questions.map((q) => tokenizer.encode(choicePrompt(q), { addSpecialTokens: true }));
    const events: unknown[] = [];
    const report = (event: unknown) => events.push(event);
    const contextLength = whole[0].length;
    await multipleChoice(model, tokenizer, questions, { contextLength }, { ...ctx, report });
    expect(seen).toHaveLength(2);
    expect(seen).toEqual(expect.arrayContaining([whole[0], whole[1].slice(-contextLength)]));
    expect(events).toContainEqual(
      expect.objectContaining({ code: "QUESTIONS_CUT", message: expect.stringContaining("1 of 2") }),
    );
    // With its answer a sequence has one token more, and so one less of the prompt.
    const [first, second] = answeredQuestions(tokenizer, questions, { contextLength });
    const [letter] = tokenizer.encode(" A");
    expect([...first.ids]).toEqual([...whole[0].slice(1), letter]);
    expect([...second.ids]).toEqual([...whole[1].slice(1 - contextLength), letter]);
    expect(first.scoredFrom).toBe(contextLength - 1);
  });

  it("refuses a tokenizer for which a letter is more than one token", async () => {
    const model = bigramModel(Array.from({ length: 200 }, () => new Array(200).fill(0)));
    await expect(
      multipleChoice(model, characterTokenizer("apart"), [question("", 0)], {}, ctx),
    ).rejects.toMatchObject({ code: "ANSWER_TOKEN" });
    await expect(multipleChoice(model, characterTokenizer(), [], {}, ctx)).rejects.toMatchObject({
      code: "QUESTIONS_EMPTY",
    });
  });
});

it("takes the first of equally likely letters, as numpy's argmax in lm-evaluation-harness does", async () => {
  const tokenizer = characterTokenizer();
  const after = new Array(200).fill(0);
  for (const name of ["B", "D"]) after[tokenizer.encode(` ${name}`)[0]] = 3;
  const model = bigramModel(Array.from({ length: 200 }, () => after));
  const questions = [0, 1, 2, 3].map((answer) => question(`${answer}`, answer));
  const { bySubject, correct } = await multipleChoice(model, tokenizer, questions, {}, ctx);
  expect(bySubject["1"].correct).toBe(1);
  expect(correct).toBe(1);
});
