import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  type Checkpoint,
  endTokens,
  openCheckpoint,
  openTokenizer,
  type Tokenizer,
} from "@layerfold/checkpoint";
import { openTreeDecoder, type TreeDecoder } from "@layerfold/graph";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { askDocuments } from "./ask-documents.js";
import { evaluatedSplit, prepareDocuments } from "./documents.js";
import { fewshotSource } from "./fewshot.js";
import { readSplit } from "./find-data.js";
import type { MetricValue } from "./metrics.js";
import { sampleRecords } from "./results.js";
import { summarizeTask } from "./summary.js";
import { findTask, singleTasks } from "./task-index.js";

// lm-evaluation-harness 0.4.13, model hf, on made-up data: its own task files, its own requests. Made by tools/harness_golden.py.
const at = (path: string) => fileURLToPath(new URL(`../../test/golden/${path}`, import.meta.url));
const folder = fileURLToPath(new URL("../../../../models/foldling/checkpoint", import.meta.url));

interface Golden {
  readonly tasks: Readonly<
    Record<
      string,
      {
        readonly figures: Readonly<Record<string, number | string>>;
        readonly samples: readonly {
          readonly doc_id: number;
          readonly filter: string;
          readonly doc_hash: string;
          readonly prompt_hash: string;
          readonly target_hash: string;
          readonly resps: readonly (readonly [string | number | readonly [number, boolean]])[];
          readonly values: Readonly<Record<string, MetricValue>>;
        }[];
      }
    >
  >;
}
const golden: Golden = JSON.parse(readFileSync(at("foldling.json"), "utf8"));

let checkpoint: Checkpoint;
let tokenizer: Tokenizer;
let model: TreeDecoder;
let stops: readonly number[];
beforeAll(async () => {
  checkpoint = await openCheckpoint(folder);
  tokenizer = await openTokenizer(folder);
  model = await openTreeDecoder(checkpoint);
  stops = await endTokens(checkpoint, tokenizer);
});
afterAll(async () => {
  await model.close();
  await checkpoint.close();
});

/** Golden tasks have fewer splits than the hub: examples come from where the harness took them then. */
async function ask(name: string, fewshot: number | undefined) {
  const { config } = singleTasks(await findTask(name))[0];
  const local = fewshot === undefined ? config : { ...config, training_split: null };
  const { rows } = await readSplit(at("data"), local, evaluatedSplit(local), true);
  const count = fewshot ?? local.num_fewshot ?? 0;
  const { split } = fewshotSource(
    local.task.startsWith("mmlu")
      ? local
      : { ...local, validation_split: name === "arc_easy" ? null : local.validation_split },
  );
  const shown = count > 0 && split ? await readSplit(at("data"), local, split, false) : undefined;
  const documents = prepareDocuments(local, rows, { fewshot: count, fewshotRows: shown?.rows });
  const responses = await askDocuments(
    model,
    tokenizer,
    documents,
    { contextLength: 512, endTokens: stops },
    {},
  );
  const summary = summarizeTask(local, documents, responses);
  return { summary, records: sampleRecords(local, documents, responses, summary) };
}

describe("foldling is asked and scored as by the harness", () => {
  it.each(Object.keys(golden.tasks))("%s", async (key) => {
    const [name, examples] = key.split(", ");
    const { samples, figures } = golden.tasks[key];
    const { summary, records } = await ask(
      name,
      examples === undefined ? undefined : Number.parseInt(examples, 10),
    );
    expect(records).toHaveLength(samples.length);
    samples.forEach((wanted, i) => {
      const found = records[i];
      const { doc_id, filter, prompt_hash, target_hash } = wanted;
      expect(found).toMatchObject({ doc_id, filter, prompt_hash, target_hash });
      // What the harness's own functions add to a row is not in ours.
      if (name !== "hellaswag") expect(found.doc_hash).toBe(wanted.doc_hash);
      for (const [request, [response]] of wanted.resps.entries()) {
        const [given] = found.resps[request];
        if (typeof response === "string") {
          expect(given).toBe(response);
          continue;
        }
        const [sum, greedy] = Array.isArray(response) ? response : [response, undefined];
        const [printed, isGreedy] = Array.isArray(given) ? given : [given, undefined];
        expect(Math.abs(Number(printed) - sum), `${key} ${doc_id}, request ${request}`).toBeLessThan(1e-3);
        if (greedy !== undefined) expect(isGreedy).toBe(greedy ? "True" : "False");
      }
      for (const [metric, value] of Object.entries(wanted.values)) {
        const [a, b] = [[found[metric]].flat(), [value].flat()];
        for (const [j, each] of b.entries()) expect(Math.abs(Number(a[j]) - Number(each))).toBeLessThan(1e-3);
      }
    });
    for (const [figure, wanted] of Object.entries(figures)) {
      const [metric, filter] = figure.split(",");
      const isError = metric.endsWith("_stderr");
      const found = summary.figures[`${metric.replace(/_stderr$/, "")},${filter}`];
      const value = isError ? (found.stderr ?? "N/A") : found.value;
      if (typeof wanted === "string") expect(value).toBe(wanted);
      else expect(Math.abs(Number(value) - wanted)).toBeLessThan(1e-3 * Math.max(1, Math.abs(wanted)));
    }
  });
});
