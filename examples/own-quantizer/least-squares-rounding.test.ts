import { contiguousData, type Matrix, type QuantizedTensor } from "@layerfold/core";
import { dequantize, rtn } from "@layerfold/quantize";
import { quantizerChecks, randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import leastSquaresRounding from "./least-squares-rounding.js";

// The laws that every quantizer obeys. Scales that are fitted may leave the largest weight more than half a step outside.
describe("least-squares-rounding keeps the contract", () => {
  for (const { name, run } of quantizerChecks(() => leastSquaresRounding({ groupSize: 16 }))) it(name, run);
});

it("leaves less squared error than rounding to nearest", async () => {
  const ctx = testContext(1);
  const weight = randomMatrix(16, 64, ctx.rng, "float32");
  const errorOf = (quantized: QuantizedTensor) => {
    const approximation: Matrix = dequantize(quantized);
    return contiguousData(weight).reduce((sum, w, i) => sum + (w - approximation.data[i]) ** 2, 0);
  };
  const options = { bits: 4, groupSize: 32, scaleDtype: "float32" } as const;
  const fitted = errorOf(await leastSquaresRounding(options).quantize(weight, { tokenCount: 0 }, ctx));
  expect(fitted).toBeLessThan(errorOf(await rtn(options).quantize(weight, { tokenCount: 0 }, ctx)));
});
