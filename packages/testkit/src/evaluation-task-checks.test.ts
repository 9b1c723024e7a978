import { type ChoiceItem, type EvaluationTask, LayerfoldError } from "@layerfold/core";
import { expect, it } from "vitest";
import { brokenLaws } from "./broken-laws.test.fixture.js";
import { evaluationTaskChecks } from "./evaluation-task-checks.js";

interface Row {
  question: string;
  answers: string[];
  right: number;
}
type Item = EvaluationTask["item"];

const honest: Item = (row, where) => {
  const { question, answers, right } = (row ?? {}) as Row;
  if (typeof question !== "string" || !Array.isArray(answers) || !Number.isInteger(right)) {
    throw new LayerfoldError("TASK_ROW_INVALID", "no row", { where });
  }
  return { context: question, choices: answers, answer: right };
};

const rows = [
  { question: "a?", answers: ["x", "y"], right: 0 },
  { question: "b?", answers: ["x", "y", "z"], right: 2 },
];
const broken = (item: Item) =>
  brokenLaws(
    evaluationTaskChecks(() => ({ kind: "task", id: "demo", summary: "demo", options: {}, item }), { rows }),
  );

it("passes an honest task", async () => {
  expect(await broken(honest)).toEqual([]);
});

const changed =
  (change: (item: ChoiceItem) => ChoiceItem): Item =>
  (...args) =>
    change(honest(...args));
let calls = 0;
it.each<[string, Item]>([
  [
    "makes of every row a context, choices, and which one is right",
    changed((item) => ({ ...item, answer: item.answer + 1 })),
  ],
  [
    "makes the same of a row, whatever came before it",
    changed((item) => ({ ...item, context: `${calls++}` })),
  ],
  [
    "leaves rows untouched",
    changed((item) => {
      (item.choices as string[]).push("more");
      return item;
    }),
  ],
  ["refuses what is no row, saying where", (row) => honest(row, "somewhere")],
  [
    "takes a row that lacks a field for what it still says, or refuses it",
    (row, where) => {
      const { question, answers, right } = row as Row;
      honest({ question: question ?? "", answers: answers ?? [], right: right ?? 0 }, where);
      return { context: question.trim(), choices: [...answers], answer: right };
    },
  ],
])("catches a task that breaks: %s", async (law, item) => {
  expect(await broken(item)).toContain(law);
});
