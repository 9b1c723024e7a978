import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { openTokenizer, readDocuments, readQuestions, tokenWindows } from "@layerfold/checkpoint";
import { answeredTexts, benchmarkTexts, readBenchmark } from "@layerfold/evaluate";
import { encode, encodeJson, type FuzzTarget } from "../target.js";
import { tinyTokenizer, tinyTokenizerConfig } from "../tiny-model.js";

const lines = (...rows: unknown[]) => encode(`${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
const sentence = "the dog ate the bone, and then it went home again.";

/** Texts in each of their forms, cut into windows. */
export const texts: FuzzTarget = {
  id: "texts",
  async starts() {
    const files: [string, Uint8Array][] = [
      ["text.txt", encode(`${sentence}\n\n`.repeat(20))],
      ["text.txt", encode(`Ünïcode \u{1f600}\r\n${sentence} `.repeat(20))],
      ["text.jsonl", lines({ text: sentence }, sentence, { text: "ä", more: 1 })],
      ["text.json", encodeJson([{ text: sentence }, sentence])],
    ];
    return files.map(
      (file) =>
        new Map([
          file,
          ["tokenizer/tokenizer.json", encodeJson(tinyTokenizer)],
          ["tokenizer/tokenizer_config.json", encodeJson(tinyTokenizerConfig)],
        ]),
    );
  },
  changes: (name) => name.startsWith("text."),
  async read(folder) {
    const name = (await readdir(folder)).find((name) => name.startsWith("text."))!;
    const documents = await readDocuments(join(folder, name));
    tokenWindows(documents, await openTokenizer(join(folder, "tokenizer")), {
      window: 16,
      maxTokens: 10_000,
    });
  },
};

/** Multiple-choice questions of our own form. */
export const questions: FuzzTarget = {
  id: "questions",
  starts: async () => [
    new Map([
      [
        "questions.jsonl",
        lines(
          { subject: "animals", question: "What ate?", choices: ["the dog", "the bone"], answer: 0 },
          { question: "Where?", choices: ["home", "mill", "inn"], answer: 2 },
        ),
      ],
    ]),
  ],
  read: (folder) => readQuestions(join(folder, "questions.jsonl")),
};

const rows: Readonly<Record<string, Uint8Array>> = {
  "arc_easy.jsonl": lines(
    { question: "What?", choices: { text: ["a", "b"], label: ["A", "B"] }, answerKey: "B" },
    { question: "What?", choices: ["a", "b"], answer: 1 },
  ),
  "piqa.jsonl": lines({ goal: "To eat", sol1: "bite", sol2: "sleep", label: 0 }),
  "hellaswag.jsonl": lines({
    activity_label: "Eating",
    ctx_a: "A dog [title] eats.",
    ctx_b: "it",
    endings: ["sleeps", "barks [step] twice"],
    label: "1",
  }),
  "winogrande.jsonl": lines({
    sentence: "The dog saw _ there.",
    option1: "it",
    option2: "them",
    answer: "2",
  }),
  "openbookqa.jsonl": lines({
    question_stem: "It is",
    choices: { text: ["a", "b"], label: ["A", "B"] },
    answerKey: "A",
  }),
  "lambada.jsonl": lines({ text: sentence }, { text: "the end" }),
  "mmlu.csv": encode('"What, and ""why""?",a,b,c,d,C\nWho?,1,2,3,4,A\n'),
};

/** The rows of the public benchmarks. */
export const benchmarks: FuzzTarget = {
  id: "benchmarks",
  starts: async () => Object.entries(rows).map((file) => new Map([file])),
  async read(folder) {
    const [name] = await readdir(folder);
    const benchmark = await readBenchmark(name.slice(0, name.indexOf(".")), join(folder, name));
    benchmarkTexts(benchmark);
    answeredTexts(benchmark, { wrong: true });
  },
};
