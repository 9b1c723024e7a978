import { fileURLToPath } from "node:url";
import {
  type Checkpoint,
  openCheckpoint,
  openTokenizer,
  readDocuments,
  readQuestions,
  type Tokenizer,
  tokenWindows,
} from "@layerfold/checkpoint";
import { type Decoder, openDecoder } from "@layerfold/graph";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ctx } from "./bigram-model.test.fixture.js";
import { askDocuments } from "./harness/ask-documents.js";
import type { TaskDocument } from "./harness/documents.js";
import { summarizeTask } from "./harness/summary.js";
import { readTaskConfig } from "./harness/task-config.js";
import { klToDense } from "./kl-to-dense.js";
import { multipleChoice } from "./multiple-choice.js";
import { perplexity } from "./perplexity.js";

const foldling = (path: string) =>
  fileURLToPath(new URL(`../../../models/foldling/${path}`, import.meta.url));

/** The figures that transformers gave for the same checkpoint and data: models/foldling/README.md, measurements.json. */
describe("the embedded model", () => {
  let checkpoint: Checkpoint;
  let tokenizer: Tokenizer;
  let model: Decoder;
  beforeAll(async () => {
    checkpoint = await openCheckpoint(foldling("checkpoint"));
    tokenizer = await openTokenizer(foldling("checkpoint"));
    model = await openDecoder(checkpoint);
  });
  afterAll(async () => {
    await model.close();
    await checkpoint.close();
  });

  it("has the perplexity of its model card on the validation documents, and no divergence from itself", async () => {
    const { sequences } = tokenWindows(await readDocuments(foldling("data/validation.jsonl")), tokenizer);
    const result = await perplexity(model, sequences, {}, ctx);
    expect(result.windows).toBe(256);
    expect(Math.abs(result.perplexity - 1.9426)).toBeLessThan(5e-4);
    const divergence = await klToDense(model, model, sequences.slice(0, 16), {}, ctx);
    expect(divergence.klToDense).toBe(0);
  });

  it("answers as many questions as its model card says, of every subject", async () => {
    const questions = await readQuestions(foldling("data/questions-test.jsonl"));
    const result = await multipleChoice(model, tokenizer, questions, {}, ctx);
    expect(result.count).toBe(600);
    expect(Math.abs(result.correct - 490)).toBeLessThanOrEqual(2);
    expect(result.bySubject.facts_homes.accuracy).toBe(1);
    expect(Math.abs(result.bySubject.story_reason.correct - 31)).toBeLessThanOrEqual(1);
  });

  it("answers fact questions in words without a fault", async () => {
    const questions = await readQuestions(foldling("data/questions-test.jsonl"));
    const items: TaskDocument[] = questions
      .filter(({ subject }, i) => subject.startsWith("facts_") && i % 5 === 0)
      .map(({ question, choices, answer }, id) => ({
        id,
        row: {},
        target: answer,
        choices,
        gold: answer,
        requests: choices.map((choice) => ({
          kind: "loglikelihood",
          context: `Question: ${question}\nAnswer:`,
          continuation: ` ${choice}`,
        })),
      }));
    const config = readTaskConfig(
      { task: "facts", output_type: "multiple_choice", doc_to_choice: "choices", doc_to_target: "answer" },
      "",
    );
    const responses = await askDocuments(model, tokenizer, items, { contextLength: 512 }, ctx);
    const { count, figures } = summarizeTask(config, items, responses);
    expect(count).toBeGreaterThan(40);
    expect(figures["acc,none"].value).toBe(1);
  });
});
