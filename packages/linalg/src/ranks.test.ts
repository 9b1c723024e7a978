import fc from "fast-check";
import { expect, it } from "vitest";
import { averageRanks, randomTieRanks } from "./ranks.js";
import { seededRng } from "./seeded-rng.js";

const values = fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 30 });

it("counts the smaller values and half of the equal ones", () => {
  fc.assert(
    fc.property(values, (xs) => {
      const ranks = averageRanks(xs);
      xs.forEach((x, i) => {
        const smaller = xs.filter((y) => y < x).length;
        const equal = xs.filter((y) => y === x).length;
        expect(ranks[i]).toBe(smaller + (equal - 1) / 2);
      });
    }),
  );
});

it("breaks ties at random without touching the order of different values", () => {
  fc.assert(
    fc.property(values, fc.nat(), (xs, seed) => {
      const ranks = randomTieRanks(xs, seededRng(seed));
      expect([...ranks].sort((a, b) => a - b)).toEqual(xs.map((_, i) => i));
      xs.forEach((x, i) => {
        xs.forEach((y, j) => {
          if (x < y) expect(ranks[i]).toBeLessThan(ranks[j]);
        });
      });
    }),
  );
  const orders = new Set(
    Array.from({ length: 40 }, (_, seed) => randomTieRanks([1, 1, 1], seededRng(seed)).join()),
  );
  expect(orders.size).toBe(6);
});
