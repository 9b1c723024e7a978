import { isLayerfoldError, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dequantize } from "./dequantize.js";
import { fp8 } from "./fp8.js";
import { roundHalfEven } from "./grid.js";
import { rtn } from "./rtn.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };
const quantize = async (values: number[], options: Parameters<typeof rtn>[0]) =>
  rtn({ groupSize: -1, scaleDtype: "float32", ...options }).quantize(
    tensor(Float32Array.from(values), [1, values.length]),
    { tokenCount: 0 },
    ctx,
  );

describe("rtn", () => {
  it("has the formats' scales and zero points", async () => {
    // Read off compressed-tensors ac8e2ba8: symmetric max 1 gives 0.133333 (4 bits) and 0.0078431 (8 bits).
    expect((await quantize([1, -0.5], {})).scales[0]).toBe(Math.fround(2 / 15));
    expect((await quantize([1, -0.5], { bits: 8 })).scales[0]).toBe(Math.fround(2 / 255));
    // Asymmetric (−1, 0.75): scale 0.116667, zero point 1; (−0.5, 2): 0.166667, −5; signed there, so 9 and 3 here.
    const first = await quantize([-1, 0.75], { symmetric: false });
    expect([first.scales[0], first.zeroPoints[0]]).toEqual([Math.fround(1.75 / 15), 9]);
    const second = await quantize([-0.5, 2], { symmetric: false });
    expect([second.scales[0], second.zeroPoints[0]]).toEqual([Math.fround(2.5 / 15), 3]);
    // AWQ: the range need not hold 0; GPTQ v1: zero point ≥ 1.
    const awq = await quantize([1, 4], { symmetric: false, rangeIncludesZero: false });
    expect([awq.scales[0], awq.zeroPoints[0]]).toEqual([Math.fround(3 / 15), 0]);
    expect((await quantize([1, 4], { symmetric: false, smallestZeroPoint: 1 })).zeroPoints[0]).toBe(1);
  });

  it("leaves an error of at most half a step, and clips no more than half a step", async () => {
    const weights = fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 2, maxLength: 40 });
    const options = fc.record({ bits: fc.constantFrom(2, 3, 4, 8), symmetric: fc.boolean() } as const);
    await fc.assert(
      fc.asyncProperty(weights, options, async (values, { bits, symmetric }) => {
        const result = await quantize(values, { bits: bits as 2 | 3 | 4 | 8, symmetric });
        const approximation = dequantize(result).data;
        // The zero point is rounded too, which can push either end half a step out of the range.
        // Up to 255 steps of a scale that is rounded to float32 (2^-24) may add 2^-15 of a step.
        const bound = result.scales[0] * (symmetric ? 0.5 : 1) * (1 + 2 ** -15);
        values.forEach((value, i) => {
          expect(Math.abs(approximation[i] - value)).toBeLessThanOrEqual(bound);
        });
      }),
    );
  });

  it("reproduces zeros, even a whole group of them", async () => {
    const result = await quantize([0, 0, 3, 0], { groupSize: 2 });
    expect([...dequantize(result).data]).toEqual([0, 0, Math.fround(Math.fround(6 / 15) * 7), 0]);
  });

  it("chooses codes for the scale as it will be stored", async () => {
    const { scales } = await quantize([1, -0.5], { scaleDtype: "bfloat16" });
    expect(scales[0]).toBe(0.1337890625);
  });

  it("refuses what it cannot round", async () => {
    await expect(quantize([Number.NaN, 1], {})).rejects.toSatisfy((e) =>
      isLayerfoldError(e, "WEIGHT_NOT_FINITE"),
    );
    await expect(quantize([3e38, 1], { scaleDtype: "float16" })).rejects.toSatisfy((e) =>
      isLayerfoldError(e, "SCALE_OVERFLOW"),
    );
    await expect(quantize([1, 2, 3], { groupSize: 2 })).rejects.toSatisfy((e) =>
      isLayerfoldError(e, "GROUP_SIZE_INVALID"),
    );
  });
});

it("roundHalfEven rounds ties to even", () => {
  expect([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999, -3.7].map((x) => roundHalfEven(x) + 0)).toEqual([
    -2, -2, 0, 0, 2, 2, 2, -4,
  ]);
});

it("fp8 refuses NaN and infinities, and keeps a scale that its type would round to 0", async () => {
  const fp8Of = async (values: number[], scaleDtype: "float16" | "float32") =>
    fp8({ scaleDtype }).quantize(
      tensor(Float32Array.from(values), [1, values.length]),
      { tokenCount: 0 },
      ctx,
    );
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    await expect(fp8Of([1, bad], "float32")).rejects.toMatchObject({
      code: "WEIGHT_NOT_FINITE",
      got: `${bad} at [0, 1]`,
    });
  }
  // 2^-20 / 448 is below half of float16's least number 2^-24, so that is the scale, and 16 the code.
  const tiny = await fp8Of([2 ** -20], "float16");
  expect([...dequantize(tiny).data]).toEqual([2 ** -20]);
});

it("fp8 scales each row's largest weight to 448", async () => {
  // compressed-tensors ac8e2ba8: 1.0 gives 0.00223214.
  const weight = tensor(Float32Array.of(1, -0.25, 0, 0), [2, 2]);
  const result = await fp8({ scaleDtype: "float32" }).quantize(weight, { tokenCount: 0 }, ctx);
  expect(result.scales[0]).toBe(Math.fround(1 / 448));
  expect(dequantize(result).data[1]).toBeCloseTo(-0.25, 7);
  expect([...dequantize(result).data.slice(2)]).toEqual([0, 0]);
});
