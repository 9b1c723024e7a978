import { fileURLToPath } from "node:url";
import {
  type Checkpoint,
  endTokens,
  openCheckpoint,
  openTokenizer,
  type Tokenizer,
} from "@layerfold/checkpoint";
import {
  type Decoder,
  openDecoder,
  openGenerator,
  openTreeDecoder,
  type TreeDecoder,
} from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generateAnswers } from "./generate-answers.js";
import { scoreSequences } from "./score-sequences.js";

const folder = fileURLToPath(new URL("../../../../models/foldling/checkpoint", import.meta.url));
let checkpoint: Checkpoint;
let tokenizer: Tokenizer;
let plain: Decoder;
let tree: TreeDecoder;
beforeAll(async () => {
  checkpoint = await openCheckpoint(folder);
  tokenizer = await openTokenizer(folder);
  plain = await openDecoder(checkpoint);
  tree = await openTreeDecoder(checkpoint);
});
afterAll(async () => {
  await plain.close();
  await tree.close();
  await checkpoint.close();
});

const rng = seededRng(3);
const text = (length: number) => Array.from({ length }, () => 3 + rng.integer(900));

it("a tree gives every sequence the score that it has alone", async () => {
  const start = text(150);
  const middles = [text(70), text(5), text(200)];
  const sequences = [
    // Long beginnings in common, short ones, none; whole sequences in common; ends of one token and of many.
    ...middles.flatMap((middle) =>
      [text(1), text(8), text(140)].map((end) => ({
        ids: [...start, ...middle, ...end],
        from: start.length + middle.length,
        cut: 0,
      })),
    ),
    { ids: [...start, 5], from: 150, cut: 0 },
    { ids: [...start, 6], from: 150, cut: 0 },
    { ids: [...start, 6], from: 1, cut: 0 },
    ...Array.from({ length: 12 }, () => ({ ids: [0, ...text(30 + rng.integer(60))], from: 20, cut: 0 })),
    { ids: [0, ...text(500)], from: 1, cut: 0 },
  ];
  const wanted = await scoreSequences(plain, sequences, {}, {});
  for (const shareBeginnings of [true, false]) {
    let done = 0;
    const found = await scoreSequences(
      tree,
      sequences,
      { shareBeginnings, advance: (count) => (done = count) },
      {},
    );
    expect(done).toBe(sequences.length);
    found.forEach(({ logLikelihood, greedy }, i) => {
      expect(Math.abs(logLikelihood - wanted[i].logLikelihood), `sequence ${i}`).toBeLessThan(
        1e-5 * (10 + sequences[i].ids.length - sequences[i].from) + 1e-6 * Math.abs(wanted[i].logLikelihood),
      );
      expect(greedy).toBe(wanted[i].greedy);
    });
  }
});

it("answers side by side what it answers alone, token for token, and stops where it is told", async () => {
  const generator = await openGenerator(checkpoint);
  const stops = await endTokens(checkpoint, tokenizer);
  const start = tokenizer.encode("Question: What is the name of the dog?\nA. Tom\n", {
    addSpecialTokens: true,
  });
  const ends = ["B. Ann\nAnswer:", "B.", "B. Ann", "B. Ann\n\nAnswer"];
  const prompts = [
    ...ends.map((end) => [...start, ...tokenizer.encode(end)]),
    ...Array.from({ length: 14 }, () => text(1 + rng.integer(12))),
    start,
    start,
  ].map((ids, i) => ({ ids, until: i % 3 === 0 ? ["\n"] : [], maxTokens: 1 + (i % 12) }));
  const alone: string[] = [];
  for (const { ids, until, maxTokens } of prompts) {
    const tokens: number[] = [];
    for await (const token of generator.generate(ids, { maxNewTokens: maxTokens, stopTokens: stops }))
      tokens.push(token);
    const answer = tokenizer.decode(tokens, { skipSpecialTokens: true });
    alone.push(until.length > 0 ? answer.split("\n")[0] : answer);
  }
  await generator.close();
  for (const model of [tree, plain]) {
    expect(await generateAnswers(model, tokenizer, prompts, { endTokens: stops }, {})).toEqual(alone);
  }
});
