import { seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { expect, it } from "vitest";
import { sharedTokens, sharing } from "./overlap.js";

const text = (seed: number, length: number) => {
  const rng = seededRng(seed);
  return Int32Array.from({ length }, () => rng.integer(1000));
};
const windows = (ids: Int32Array, size: number) =>
  Array.from({ length: Math.floor(ids.length / size) }, (_, i) => ids.subarray(i * size, (i + 1) * size));

it("finds a passage wherever it stands, however both texts are cut", () => {
  const place = fc.integer({ min: 0, max: 200 });
  const size = fc.integer({ min: 48, max: 120 });
  fc.assert(
    fc.property(place, place, size, fc.integer({ min: 100, max: 300 }), (from, to, length, window) => {
      const judged = text(1, 500);
      // No token of its own is one of the passage's, or a chance neighbour would make the passage longer.
      const seen = text(2, 600).map((id) => id + 1000);
      seen.set(judged.subarray(from, from + length), to);
      expect(sharedTokens([seen], [judged])).toBe(length / 500);
      // A cut through the passage leaves parts, of which those of at least 48 tokens are found.
      const cut = windows(seen, window);
      const parts = cut.map((_, i) => Math.min(to + length, (i + 1) * window) - Math.max(to, i * window));
      const found = parts.filter((part) => part >= 48).reduce((a, b) => a + b, 0);
      expect(sharedTokens(cut, [judged])).toBeCloseTo(found / 500, 12);
    }),
  );
});

it("counts every token once, and takes phrases for no overlap", () => {
  const all = text(1, 300);
  expect(sharedTokens([all], windows(all, 100))).toBe(1);
  expect(sharedTokens(windows(all, 47), [all])).toBe(0);
  expect(sharedTokens([text(2, 300)], [all])).toBe(0);
  expect(sharedTokens([all], [])).toBe(0);
});

it("finds a question in the midst of what was seen, and takes a phrase for none", () => {
  const question = text(1, 20);
  const phrase = question.subarray(0, 11);
  const seen = [text(2, 300), Int32Array.from([...text(3, 5), ...question, ...text(4, 3)])];
  expect(sharedTokens(seen, [question, text(5, 20)])).toBe(0.5);
  expect(sharedTokens(seen, [question.subarray(0, 12)])).toBe(1);
  expect(sharedTokens(seen, [phrase])).toBe(0);
  expect(sharedTokens([phrase], [phrase])).toBe(1);
});

it("knows a short document as a whole", () => {
  const short = text(1, 10);
  expect(sharedTokens([short, text(2, 60)], [short, text(3, 10)])).toBe(0.5);
  expect(sharedTokens([short.subarray(0, 9)], [short])).toBe(0);
});

it("tells which sequences hold judged text", () => {
  const question = text(1, 20);
  const [free, holding] = [text(2, 60), Int32Array.from([...text(3, 60), ...question])].map((ids) => ({
    ids,
  }));
  expect(sharing([free, holding], [text(4, 100), question])).toEqual([holding]);
  expect(sharing([free, holding], [text(4, 100)])).toEqual([]);
});
