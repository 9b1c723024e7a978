import { writeFileSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tokenizer } from "@layerfold/checkpoint";
import { data, checkpoint as folder } from "@layerfold/foldling";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openFoldling } from "../foldling.test.fixture.js";
import { createRun, type Run } from "../run.js";
import { calibratedModel } from "../stages/open-workbench.js";
import { readAnswers, readCalibration } from "./read-calibration.js";

const documents = join(data, "calibration.jsonl");
let opened: Awaited<ReturnType<typeof openFoldling>>;
let run: Run;
let tokenizer: Tokenizer;
let scratch: string;
let stream: string;
beforeAll(async () => {
  opened = await openFoldling();
  ({ run, tokenizer } = opened);
  scratch = await mkdtemp(join(tmpdir(), "calibration-"));
  stream = join(scratch, "stream.txt");
  writeFileSync(stream, "Mara went to the mill to fetch water. ".repeat(300));
});
afterAll(async () => {
  await opened.close();
  await rm(scratch, { recursive: true });
});

const read = (sources: string, options = {}, by = run) =>
  readCalibration(sources, calibratedModel(opened, opened.tasks, by), { window: 64, ...options }, by);

describe("a calibration of several texts", () => {
  it("holds as much of each as its share asks for", async () => {
    const mixed = await read(`${stream}:0.25,${documents}:0.75`, { calibrationTokens: 2048 });
    expect(mixed.facts.map(({ name, share, windows }) => [name, share, windows])).toEqual([
      ["stream.txt", 0.25, 8],
      ["calibration.jsonl", 0.75, expect.any(Number)],
    ]);
    expect(mixed.facts[0].tokens).toBe(512);
    // Whole documents of at most 64 tokens.
    expect(mixed.facts[1].tokens).toBeGreaterThan(1536 - 64);
    expect(mixed.facts[1].tokens).toBeLessThanOrEqual(1536);
    expect(mixed.tokenCount).toBe(mixed.facts[0].tokens + mixed.facts[1].tokens);
    expect(mixed.hasStream).toBe(true);
    expect((await read(documents)).hasStream).toBe(false);
  });

  it("keeps the shares where no number of tokens is given: the text with the least for its share decides", async () => {
    const all = await read(stream);
    const [part, rest] = (await read(`${stream}:1,${documents}:3`)).facts;
    expect(part.tokens).toBe(all.tokenCount);
    expect(rest.tokens / part.tokens).toBeGreaterThan(2.9);
    expect(rest.tokens / part.tokens).toBeLessThanOrEqual(3);
  });

  it("says how many tokens it takes to fill a window of every text", async () => {
    // A window of 64 of the text with a share of 0.25: 256 tokens.
    const two = `${stream}:0.25,${documents}:0.75`;
    await expect(read(two, { calibrationTokens: 253 })).rejects.toMatchObject({
      code: "CALIBRATION_TOO_SMALL",
      wanted: "at least 256 tokens (a window of 64 of every text), or a shorter --window",
      got: "253",
      where: "--calibration-tokens",
    });
    expect((await read(two, { calibrationTokens: 256 })).facts[0].windows).toBe(1);
    // Of ten rows a ten-thousandth part is asked of the stream.
    await expect(read(`${stream}:1,${documents}[0:10]:9999`)).rejects.toMatchObject({
      code: "CALIBRATION_TOO_SMALL",
      where: "--calibration",
    });
    expect((await read("self", { calibrationTokens: 20 })).tokenCount).toBe(20);
  });

  it("takes parts: rows of documents, tokens of a stream", async () => {
    const [first, second, both] = await Promise.all(
      [`${documents}[0:20]`, `${documents}[20:50]`, `${documents}[0:50]`].map((text) => read(text)),
    );
    expect([...first.sequences, ...second.sequences]).toEqual(both.sequences);
    expect(both.facts[0]).toMatchObject({ range: "[0:50]", windows: 50 });
    const [whole, part] = await Promise.all([stream, `${stream}[128:320]`].map((text) => read(text)));
    expect(part.sequences).toEqual(whole.sequences.slice(2, 5));
    for (const range of ["[0:100000]", "[100000:]"]) {
      await expect(read(stream + range)).rejects.toMatchObject({ code: "TEXT_RANGE" });
      await expect(read(documents + range)).rejects.toMatchObject({ code: "TEXT_RANGE" });
    }
  });

  it("reads a benchmark's rows with their right answers", async () => {
    const file = join(scratch, "piqa.jsonl");
    const row = (label: number) => JSON.stringify({ goal: "Open a door", sol1: "push", sol2: "sing", label });
    writeFileSync(file, [row(1), row(0), row(1)].join("\n"));
    const { sequences, facts } = await read(`piqa:${file}[1:]`);
    expect(sequences.map(({ ids }) => tokenizer.decode(ids))).toEqual([
      expect.stringContaining("Question: Open a door\nAnswer: push"),
      expect.stringContaining("Question: Open a door\nAnswer: sing"),
    ]);
    expect(facts).toMatchObject([{ name: "piqa.jsonl", task: "piqa", range: "[1:]", windows: 2 }]);
    const wrong = await read(`piqa+wrong:${file}[1:]`);
    expect(wrong.sequences.map(({ ids }) => tokenizer.decode(ids))).toEqual(
      ["push", "sing", "push", "sing"].map((answer) =>
        expect.stringContaining(`Question: Open a door\nAnswer: ${answer}`),
      ),
    );
    expect(wrong.facts).toMatchObject([{ task: "piqa+wrong", range: "[1:]", windows: 4 }]);
    // What is too long keeps its answer.
    const short = await read(`piqa:${file}[1:]`, { window: 8 });
    expect(short.sequences.map(({ ids }) => ids.length)).toEqual([8, 8]);
    expect(short.sequences.map(({ ids }) => tokenizer.decode(ids))).toEqual([
      expect.stringMatching(/push<\|end\|>$/),
      expect.stringMatching(/sing<\|end\|>$/),
    ]);
    await expect(read(`piqa+wrong:${file}[1:4]`)).rejects.toMatchObject({ code: "TEXT_RANGE" });
    await expect(read(`arc_easy:${file}`)).rejects.toMatchObject({ code: "TASK_ROW_INVALID" });
  });

  it("says when a text gives less than was asked of it", async () => {
    const codes: string[] = [];
    const report = (event: { type: string; code?: string }) => event.code && codes.push(event.code);
    await read(
      `${documents}[0:9],${stream}`,
      { calibrationTokens: 2048 },
      { ...run, ctx: { ...run.ctx, report } },
    );
    expect(codes).toContain("CALIBRATION_SHORT");
  });
});

describe("self", () => {
  it("is text that the model draws, the same with the same seed", async () => {
    const own = await read("self", { calibrationTokens: 300 });
    expect(own.tokenCount).toBe(300);
    expect(own.facts).toEqual([
      { name: "self", share: 1, tokens: 300, windows: own.sequences.length, temperature: 1 },
    ]);
    for (const { ids } of own.sequences) {
      expect(ids[0]).toBe(tokenizer.beginId);
      expect(ids.length).toBeLessThanOrEqual(64);
    }
    // Drawn anew, in a store that knows nothing.
    const anew = await openFoldling();
    const options = { window: 64, calibrationTokens: 300 };
    const again = await readCalibration("self", anew.calibrated, options, anew.run);
    expect(anew.tasks.counts).toEqual({ made: 1, found: 0 });
    await anew.close();
    expect(again.sequences).toEqual(own.sequences);
    const other = createRun({ seed: 1 });
    expect((await read("self", { calibrationTokens: 300 }, other)).sequences).not.toEqual(own.sequences);
    const cold = await read("self", { calibrationTokens: 128, selfTemperature: 1e-3 });
    expect(cold.sequences[1].ids.slice(0, 32)).toEqual(cold.sequences[0].ids.slice(0, 32));
  });

  it("ends at every token that generation_config.json names", async () => {
    const copy = join(scratch, "checkpoint");
    await cp(folder, copy, { recursive: true });
    const [period] = tokenizer.encode(".");
    const ends = [tokenizer.endId, period];
    writeFileSync(join(copy, "generation_config.json"), JSON.stringify({ eos_token_id: ends }));
    const other = await openFoldling({}, copy);
    const options = { window: 64, calibrationTokens: 300 };
    const { sequences } = await readCalibration("self", other.calibrated, options, other.run);
    await other.close();
    const inner = sequences.slice(0, -1);
    for (const { ids } of inner) {
      expect(ids.subarray(0, -1)).not.toContain(period);
      if (ids.length < 64) expect(ends).toContain(ids.at(-1));
    }
    expect(inner.filter(({ ids }) => ids.at(-1) === period).length).toBeGreaterThan(0);
  });

  it("mixes with texts, and needs a checkpoint", async () => {
    const mixed = await read(`self:1,${documents}:1`, { calibrationTokens: 512 });
    expect(mixed.facts[0].tokens).toBe(256);
    expect(mixed.facts[1].name).toBe("calibration.jsonl");
    await expect(readCalibration("self", { tokenizer, context: 64 }, {}, run)).rejects.toMatchObject({
      code: "SELF_TEXT",
    });
  });
});

it("answers are the letters' tokens, the only targets", async () => {
  const { sequences, weight } = await readAnswers(
    `${join(data, "questions-dev.jsonl")}[0:2]`,
    { tokenizer, context: 512 },
    { questionWeight: 0.5 },
    run,
  );
  expect(weight).toBe(0.5);
  // The right choices of the first two rows of the file.
  expect(sequences.map(({ ids }) => tokenizer.decode(ids.slice(-1)).trim())).toEqual(["A", "B"]);
  for (const { ids, scoredFrom } of sequences) expect(scoredFrom).toBe(ids.length - 1);
});
