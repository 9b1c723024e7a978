import fc from "fast-check";
import { expect, it } from "vitest";
import { median, orderStatistic, quantile } from "./quantile.js";

const values = fc.array(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1, maxLength: 60 });
const ascending = (xs: number[]) => [...xs].sort((a, b) => a - b);

it("finds every order statistic and leaves its input alone", () => {
  fc.assert(
    fc.property(values, (xs) => {
      const copy = [...xs];
      const sorted = ascending(xs);
      xs.forEach((_, k) => {
        expect(orderStatistic(xs, k) === sorted[k]).toBe(true);
      });
      expect(xs).toEqual(copy);
    }),
  );
});

it("interpolates between order statistics as numpy's default does", () => {
  // numpy 2.4.6: np.quantile([3, 1, 4, 1, 5, 9, 2, 6], [0, .1, .5, .77, 1])
  const xs = [3, 1, 4, 1, 5, 9, 2, 6];
  const wanted = [1, 1, 3.5, 5.39, 9];
  [0, 0.1, 0.5, 0.77, 1].forEach((q, i) => {
    expect(quantile(xs, q)).toBeCloseTo(wanted[i], 12);
  });
  expect(median([2, 1])).toBe(1.5);
});

it("refuses too few values", () => {
  expect(() => median([])).toThrow(expect.objectContaining({ code: "SAMPLES_TOO_FEW" }));
  expect(() => orderStatistic([1], 1)).toThrow(expect.objectContaining({ code: "SAMPLES_TOO_FEW" }));
});
