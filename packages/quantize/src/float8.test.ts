import fc from "fast-check";
import { expect, it } from "vitest";
import { fromFloat8Bits, toFloat8Bits } from "./float8.js";

it("has e4m3's landmarks", () => {
  // OCP 8-bit floating point specification, table 2 (E4M3).
  expect(fromFloat8Bits(0x7e)).toBe(448);
  expect(fromFloat8Bits(0x08)).toBe(2 ** -6);
  expect(fromFloat8Bits(0x07)).toBe(0.875 * 2 ** -6);
  expect(fromFloat8Bits(0x01)).toBe(2 ** -9);
  expect(fromFloat8Bits(0x7f)).toBeNaN();
  expect(toFloat8Bits(Number.NaN)).toBe(0x7f);
});

it("keeps every number that it can hold", () => {
  for (let bits = 0; bits < 256; bits++) {
    if ((bits & 0x7f) === 0x7f) continue;
    expect(toFloat8Bits(fromFloat8Bits(bits))).toBe(bits);
  }
});

it("rounds to a nearest number, to the even one of two, and saturates", () => {
  const finite = Array.from({ length: 127 }, (_, bits) => fromFloat8Bits(bits));
  const numbers = fc.oneof(
    fc.float({ min: -600, max: 600, noNaN: true }),
    fc.float({ min: Math.fround(-0.03), max: Math.fround(0.03), noNaN: true }),
  );
  fc.assert(
    fc.property(numbers, (value) => {
      const bits = toFloat8Bits(value);
      const error = Math.abs(Math.abs(fromFloat8Bits(bits)) - Math.abs(value));
      const least = Math.min(...finite.map((number) => Math.abs(number - Math.abs(value))));
      expect(error).toBe(least);
      expect(fromFloat8Bits(bits) * value).toBeGreaterThanOrEqual(0);
    }),
    { numRuns: 1000 },
  );
  for (let bits = 0; bits < 126; bits++) {
    const middle = (fromFloat8Bits(bits) + fromFloat8Bits(bits + 1)) / 2;
    expect(toFloat8Bits(middle) % 2).toBe(0);
  }
});
