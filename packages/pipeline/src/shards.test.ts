import type { TokenSequence } from "@layerfold/checkpoint";
import fc from "fast-check";
import { expect, it } from "vitest";
import { shardsOf } from "./shards.js";

const sequence = (length: number, scoredFrom = 1): TokenSequence => ({
  ids: new Int32Array(length),
  scoredFrom,
});
const counts = ({ ids, scoredFrom }: TokenSequence) => ids.length > scoredFrom;

it("keeps every sequence once and in order, and leaves no shard without one that counts", () => {
  const rows = fc.array(fc.tuple(fc.integer({ min: 1, max: 9000 }), fc.boolean()), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(rows, (lengths) => {
      const text = lengths.map(([length, all]) => sequence(length, all ? 1 : length));
      const shards = shardsOf(text, counts);
      expect(shards.flat()).toEqual(text);
      if (text.some(counts)) for (const shard of shards) expect(shard.some(counts)).toBe(true);
      else expect(shards).toHaveLength(1);
    }),
  );
});

it("cuts at 16,384 tokens", () => {
  const text = Array.from({ length: 80 }, () => sequence(512));
  const sizes = (windows: number) => shardsOf(text.slice(0, windows), counts).map(({ length }) => length);
  expect([sizes(80), sizes(79), sizes(40), sizes(32)]).toEqual([[32, 32, 16], [32, 47], [40], [32]]);
  const short = text.slice(0, 3);
  expect(shardsOf(short, counts)[0]).toBe(short);
});
