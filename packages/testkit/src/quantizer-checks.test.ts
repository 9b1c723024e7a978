import {
  checkFinite,
  contiguousData,
  defineQuantizer,
  LayerfoldError,
  type Matrix,
  type QuantizedTensor,
  type Quantizer,
  z,
} from "@layerfold/core";
import { expect, it } from "vitest";
import { brokenLaws } from "./broken-laws.test.fixture.js";
import { quantizerChecks } from "./quantizer-checks.js";

type Quantize = Quantizer["quantize"];

/** 8 bits, one scale per row, rounded to nearest. */
const honest =
  (
    read: (weight: Matrix) => ArrayLike<number> = contiguousData,
  ): ((...args: Parameters<Quantize>) => QuantizedTensor) =>
  (weight) => {
    checkFinite(weight);
    const [rows, columns] = weight.shape;
    const values = read(weight);
    const scales = new Float32Array(rows).fill(1);
    const codes = new Uint8Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      const at = (i: number) => values[row * columns + i];
      const largest = Array.from({ length: columns }, (_, i) => Math.abs(at(i))).reduce(
        (a, b) => Math.max(a, b),
        0,
      );
      if (largest > 0) scales[row] = largest / 127;
      for (let i = 0; i < columns; i++) codes[row * columns + i] = 128 + Math.round(at(i) / scales[row]);
    }
    const zeroPoints = new Uint8Array(rows).fill(128);
    return {
      bits: 8,
      shape: [rows, columns],
      groupSize: columns,
      symmetric: true,
      codes,
      scales,
      zeroPoints,
    };
  };

const quantizer = (quantize: Quantize, needs?: Quantizer["needs"]) =>
  defineQuantizer({
    id: "demo",
    summary: "demo",
    optionsSchema: z.strictObject({}),
    create: () => ({ quantize, ...(needs && { needs }) }),
  });
const broken = (quantize: Quantize, needs?: Quantizer["needs"]) =>
  brokenLaws(quantizerChecks(quantizer(quantize, needs), { steps: 0.501 }));

it("passes honest rounding, and what asks for statistics", async () => {
  expect(await broken(honest())).toEqual([]);
  const asking: Quantize = (weight, { gram, absoluteMean }, ctx) => {
    if (!gram || !absoluteMean) throw new LayerfoldError("STATISTICS_MISSING", "no");
    return honest()(weight, { tokenCount: 0 }, ctx);
  };
  expect(await broken(asking, ["gram", "absoluteMean"])).toEqual([]);
  expect(await broken(honest(), ["gram"])).toEqual(["refuses to run without the statistics that it needs"]);
});

let calls = 0;
it.each<[string, Quantize]>([
  [
    "gives codes, scales and zero points in the shapes and ranges that files hold",
    (...args) => ({ ...honest()(...args), bits: 4 }),
  ],
  [
    "gives weights back near to what they were",
    (...args) => ({ ...honest()(...args), scales: honest()(...args).scales.map((scale) => scale * 1.01) }),
  ],
  [
    "leaves weights of 0 at 0",
    (...args) => ({ ...honest()(...args), zeroPoints: honest()(...args).zeroPoints.fill(127) }),
  ],
  [
    "leaves weights and statistics untouched",
    (weight, ...rest) => {
      weight.data[weight.offset] += 1;
      return honest()(weight, ...rest);
    },
  ],
  [
    "reads strided weights as it reads contiguous ones",
    honest(({ data }) => Float32Array.from(data, (x) => x || 0)),
  ],
  [
    "gives the same codes for the same seed",
    (...args) => {
      const made = honest()(...args);
      made.codes[0] = calls++ % 256;
      return made;
    },
  ],
  [
    "refuses weights that are not finite",
    (weight, ...rest) => {
      const data = contiguousData(weight).map((x: number) => (Number.isFinite(x) ? x : 0));
      return honest(() => data)({ ...weight, data: data as Float32Array }, ...rest);
    },
  ],
])("catches a quantizer that breaks: %s", async (law, quantize) => {
  expect(await broken(quantize)).toContain(law);
});
