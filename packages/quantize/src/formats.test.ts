import { readFileSync } from "node:fs";
import type { Diagnostic, QuantizedTensor } from "@layerfold/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packAwq, unpackAwq } from "./awq-format.js";
import { packCompressedTensors, unpackCompressedTensors, unpackFloat8 } from "./compressed-tensors-format.js";
import { dequantize } from "./dequantize.js";
import { packGptq, unpackGptq } from "./gptq-format.js";
import { type PackedTensor, wordBytes } from "./packed-tensor.js";

const parts = (tensors: PackedTensor[]) => new Map(tensors.map((part) => [part.suffix, part]));

/** Any quantised tensor whose scales fit half precision; sizes are multiples of `step`. */
function quantizedTensors(
  bits: 2 | 3 | 4 | 8,
  step: number,
  smallestZeroPoint = 0,
): fc.Arbitrary<QuantizedTensor> {
  const top = 2 ** bits - 1;
  return fc
    .record({
      out: fc.integer({ min: 1, max: 3 }),
      groups: fc.integer({ min: 1, max: 3 }),
      symmetric: fc.boolean(),
    })
    .chain(({ out, groups, symmetric }) => {
      const [rows, groupSize] = [out * step, step];
      const columns = groups * groupSize;
      const count = rows * groups;
      const bytes = (length: number, min = 0) =>
        fc.uint8Array({ min, max: top, minLength: length, maxLength: length });
      return fc.record({
        bits: fc.constant(bits),
        shape: fc.constant([rows, columns] as const),
        groupSize: fc.constant(groupSize),
        symmetric: fc.constant(symmetric),
        codes: bytes(rows * columns),
        scales: fc
          .array(fc.integer({ min: 1, max: 255 }), { minLength: count, maxLength: count })
          .map((s) => Float32Array.from(s, (x) => x / 256)),
        zeroPoints: symmetric
          ? fc.constant(new Uint8Array(count).fill(2 ** (bits - 1)))
          : bytes(count, smallestZeroPoint),
      });
    });
}

describe("every format gives back what it was given", () => {
  for (const bits of [2, 3, 4, 8] as const) {
    it(`gptq and gptq_v2, ${bits} bits`, () => {
      for (const [version, least] of [
        ["gptq", 1],
        ["gptq_v2", 0],
      ] as const) {
        fc.assert(
          fc.property(quantizedTensors(bits, 32, least), (given) => {
            const { symmetric, groupSize } = given;
            expect(
              unpackGptq(parts(packGptq(given, version, "m")), { version, symmetric, groupSize }, "m"),
            ).toEqual(given);
          }),
          { numRuns: 15 },
        );
      }
    });

    it(`pack-quantized, ${bits} bits, ragged sizes`, () => {
      fc.assert(
        fc.property(quantizedTensors(bits, 5), (given) => {
          const packed = parts(packCompressedTensors(given, "pack-quantized", "bfloat16", "m"));
          expect(unpackCompressedTensors(packed, { bits, groupSize: given.groupSize }, "m")).toEqual(given);
        }),
        { numRuns: 30 },
      );
    });
  }

  it("awq", () => {
    fc.assert(
      fc.property(quantizedTensors(4, 8), (given) => {
        const { symmetric, groupSize } = given;
        expect(unpackAwq(parts(packAwq(given, "m")), { symmetric, groupSize }, "m")).toEqual(given);
      }),
    );
  });
});

const plain: QuantizedTensor = {
  bits: 4,
  shape: [32, 32],
  groupSize: 32,
  symmetric: true,
  codes: new Uint8Array(1024),
  scales: new Float32Array(32).fill(1),
  zeroPoints: new Uint8Array(32).fill(8),
};

describe("gptq", () => {
  it("stores zero point − 1 in v1 and the zero point in v2", () => {
    const word = (version: "gptq" | "gptq_v2") => {
      const bytes = parts(packGptq(plain, version, "m")).get("qzeros")?.bytes as Uint8Array;
      return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
    };
    expect([word("gptq"), word("gptq_v2")]).toEqual([0x77777777, 0x88888888 | 0]);
  });

  it("refuses the zero point 0 in v1, and sizes that do not fill words", () => {
    const zero = { ...plain, symmetric: false, zeroPoints: new Uint8Array(32) };
    expect(() => packGptq(zero, "gptq", "m")).toThrow(
      expect.objectContaining({ code: "QUANTIZATION_NOT_EXPRESSIBLE" }),
    );
    const odd = { ...plain, shape: [32, 8] as const };
    expect(() => packGptq(odd, "gptq_v2", "m")).toThrow(
      expect.objectContaining({ code: "QUANTIZATION_NOT_EXPRESSIBLE" }),
    );
  });

  it("sees through a v2 file that says v1, and warns of words that an underflow may have destroyed", () => {
    const told: string[] = [];
    const report = (event: Diagnostic) => told.push(event.code);
    const settings = { version: "gptq", groupSize: 32, symmetric: true } as const;
    expect(unpackGptq(parts(packGptq(plain, "gptq_v2", "m")), settings, "m", report).zeroPoints).toEqual(
      plain.zeroPoints,
    );
    const broken = parts(packGptq(plain, "gptq", "m"));
    const qzeros = broken.get("qzeros") as PackedTensor;
    broken.set("qzeros", { ...qzeros, bytes: wordBytes(new Int32Array(4).fill(-1)) });
    unpackGptq(broken, { ...settings, symmetric: false }, "m", report);
    expect(told).toEqual(["GPTQ_MISLABELLED", "GPTQ_ZERO_POINT_UNDERFLOW"]);
  });
});

it("awq has the words of AutoAWQ's packer", () => {
  const golden = JSON.parse(
    readFileSync(new URL("../test/golden/awq-packing.json", import.meta.url), "utf8"),
  );
  const packed = parts(
    packAwq(
      {
        ...plain,
        shape: [32, 1],
        groupSize: 1,
        symmetric: false,
        codes: Uint8Array.from(golden.q_row_in0),
        zeroPoints: Uint8Array.from(golden.z_g0),
      },
      "m",
    ),
  );
  const words = (suffix: string) => [
    ...new Int32Array(Uint8Array.from(packed.get(suffix)?.bytes ?? []).buffer),
  ];
  expect(words("qweight")).toEqual(golden.qweight_row0);
  expect(words("qzeros")).toEqual(golden.qzeros_row0);
});

it("compressed-tensors refuses scales that were not chosen in the stored type", () => {
  const rough = { ...plain, scales: new Float32Array(32).fill(0.1) };
  expect(() => packCompressedTensors(rough, "pack-quantized", "bfloat16", "m")).toThrow(
    expect.objectContaining({ code: "SCALE_DTYPE_MISMATCH" }),
  );
});

describe("float8 with a scale per block of rows and columns", () => {
  // The float8 bits 0x38 are 1 (exponent 7 − bias 7), so a weight is its scale.
  const weight = {
    suffix: "weight",
    dtype: "float8_e4m3",
    shape: [3, 5],
    bytes: new Uint8Array(15).fill(0x38),
  };
  const inverse = (shape: number[], values: number[]) => ({
    suffix: "weight_scale_inv",
    dtype: "float32",
    shape,
    bytes: new Uint8Array(Float32Array.from(values).buffer),
  });
  const module = (scale: object) => parts([weight, scale] as PackedTensor[]);

  it("gives every weight the scale of its block, smaller ones at the edges", () => {
    const quantized = unpackFloat8(module(inverse([2, 3], [1, 2, 3, 4, 5, 6])), [2, 2], "m");
    expect([...dequantize(quantized).data]).toEqual([1, 1, 2, 2, 3, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6]);
  });

  it("refuses scales that fit no block, and blocks that nobody gave the size of", () => {
    const invalid = expect.objectContaining({ code: "QUANTIZED_TENSOR_INVALID" });
    expect(() => unpackFloat8(module(inverse([1, 3], [1, 2, 3])), [2, 2], "m")).toThrow(invalid);
    expect(() => unpackFloat8(module(inverse([2, 3], [1, 2, 3, 4, 5, 6])), undefined, "m")).toThrow(invalid);
  });
});
