import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { firstOf, tokenBatch } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";
import { type GenerateOptions, type Generator, openGenerator } from "./open-generator.js";

const root = fileURLToPath(new URL("../test/golden/", import.meta.url));
// Made by variants.py with transformers 5.18: greedy continuations.
const golden: Record<string, { prompt: number[]; tokens: number[] }> = JSON.parse(
  readFileSync(`${root}greedy.json`, "utf8"),
).models;

async function collect(generator: Generator, prompt: number[], options: GenerateOptions): Promise<number[]> {
  const tokens: number[] = [];
  for await (const token of generator.generate(prompt, options)) tokens.push(token);
  return tokens;
}

it.each(Object.keys(golden))("%s: continues greedily as transformers does", async (model) => {
  const { prompt, tokens } = golden[model];
  const checkpoint = await openCheckpoint(`${root}${model}`);
  const generator = await openGenerator(checkpoint, { threads: 1 });
  expect(await collect(generator, prompt, { maxNewTokens: tokens.length })).toEqual(tokens);
  await generator.close();
  await checkpoint.close();
});

describe("generate", () => {
  const { prompt, tokens } = golden["architectures/llama"];
  let checkpoint: Checkpoint;
  let generator: Generator;
  beforeAll(async () => {
    checkpoint = await openCheckpoint(`${root}architectures/llama`);
    generator = await openGenerator(checkpoint, { threads: 1 });
  });
  afterAll(async () => {
    await generator.close();
    await checkpoint.close();
  });

  it("ends before a stop token", async () => {
    const stop = tokens[5];
    const got = await collect(generator, prompt, { maxNewTokens: tokens.length, stopTokens: [stop] });
    expect(got).toEqual(tokens.slice(0, tokens.indexOf(stop)));
  });

  it("draws several texts side by side, each as if it were alone, until it stops", async () => {
    const maxNewTokens = 12;
    const alone: number[][] = [];
    for (let text = 0; text < 5; text++) {
      const rng = seededRng(3).fork(text);
      alone.push(await collect(generator, prompt, { maxNewTokens, temperature: 1, rng }));
    }
    const options = { count: 5, maxNewTokens, rng: seededRng(3) };
    expect(await generator.sample(prompt, options)).toEqual(alone);
    const stop = alone[0][4];
    const cut = alone.map((text) => (text.includes(stop) ? text.slice(0, text.indexOf(stop)) : text));
    expect(await generator.sample(prompt, { ...options, stopTokens: [stop] })).toEqual(cut);
    const kept = alone.map((text) => text.slice(0, text.indexOf(stop) + 1 || text.length + 1));
    expect(await generator.sample(prompt, { ...options, stopTokens: [stop], keepStopToken: true })).toEqual(
      kept,
    );
    await expect(generator.sample(prompt, { ...options, temperature: 0 })).rejects.toMatchObject({
      code: "OPTION_INVALID",
    });
  });

  it("draws from the model's own distribution, the same with the same seed", async () => {
    const decoder = await openDecoder(checkpoint, { threads: 1 });
    const logits = (await firstOf(decoder.lastLogits([tokenBatch([prompt])]))).data;
    await decoder.close();
    const temperature = 0.5;
    const mass = Float64Array.from(logits, (logit) => Math.exp(logit / temperature));
    const total = mass.reduce((a, b) => a + b);
    const rng = seededRng(7);
    const count = 400;
    const seen = new Float64Array(logits.length);
    for (let i = 0; i < count; i++) {
      const [token] = await collect(generator, prompt, { maxNewTokens: 1, temperature, rng });
      seen[token]++;
    }
    // Pearson's statistic over the tokens that are expected at least five times and the rest together: mean = its degrees of freedom.
    const often = Array.from(mass, (m, id) => [(m / total) * count, seen[id]]).filter(
      ([wanted]) => wanted >= 5,
    );
    const rest = often.reduce(([w, s], [wanted, got]) => [w - wanted, s - got], [count, count]);
    const statistic = [...often, rest].reduce((sum, [wanted, got]) => sum + (got - wanted) ** 2 / wanted, 0);
    expect(statistic).toBeLessThan(often.length + 4 * Math.sqrt(2 * often.length));

    const draw = (seed: number) =>
      collect(generator, prompt, { maxNewTokens: 12, temperature: 1, rng: seededRng(seed) });
    expect(await draw(1)).toEqual(await draw(1));
    expect(await draw(1)).not.toEqual(await draw(2));
  });

  it("refuses a temperature without randomness, strange tokens, and an aborted signal", async () => {
    const run = (from: number[], options: Partial<GenerateOptions>) =>
      collect(generator, from, { maxNewTokens: 3, ...options });
    await expect(run(prompt, { temperature: 1 })).rejects.toMatchObject({ code: "OPTION_INVALID" });
    await expect(run(prompt, { temperature: -1, rng: seededRng(1) })).rejects.toMatchObject({
      code: "OPTION_INVALID",
    });
    await expect(run([], {})).rejects.toMatchObject({ code: "BATCH_INVALID" });
    await expect(run([160], {})).rejects.toMatchObject({ code: "TOKEN_OUT_OF_RANGE" });
    await expect(run(prompt, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "INTERRUPTED" });
  });
});
