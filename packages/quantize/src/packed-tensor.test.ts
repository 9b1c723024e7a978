import type { QuantizedTensor } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { packAwq, unpackAwq } from "./awq-format.js";
import { packCompressedTensors, unpackCompressedTensors } from "./compressed-tensors-format.js";
import { packGptq, unpackGptq } from "./gptq-format.js";
import { type PackedModule, type PackedTensor, storedGroupSize } from "./packed-tensor.js";

/** [64, 64] codes in two groups of 32 channels, which an order mixes. */
function given(bits: number, ordered: boolean): QuantizedTensor {
  return {
    bits,
    shape: [64, 64],
    groupSize: 32,
    symmetric: false,
    codes: new Uint8Array(64 * 64).fill(3),
    scales: new Float32Array(64 * 2).fill(0.5),
    zeroPoints: new Uint8Array(64 * 2).fill(2),
    ...(ordered && { groupIndex: Int32Array.from({ length: 64 }, (_, i) => i % 2) }),
  };
}
const settings = { version: "gptq_v2", groupSize: 32, symmetric: false } as const;
const formats: [name: string, tensors: PackedTensor[], read: (module: PackedModule) => QuantizedTensor][] = [
  ["gptq", packGptq(given(4, true), "gptq_v2", "m"), (module) => unpackGptq(module, settings, "m")],
  [
    "awq",
    packAwq(given(4, false), "m"),
    (module) => unpackAwq(module, { groupSize: 32, symmetric: false }, "m"),
  ],
  [
    "pack-quantized",
    packCompressedTensors(given(4, true), "pack-quantized", "float16", "m"),
    (module) => unpackCompressedTensors(module, { bits: 4, groupSize: 32 }, "m"),
  ],
  [
    "int-quantized",
    packCompressedTensors(given(8, false), "int-quantized", "float16", "m"),
    (module) => unpackCompressedTensors(module, { bits: 8, groupSize: 32 }, "m"),
  ],
];
const bySuffix = (tensors: readonly PackedTensor[]) => new Map(tensors.map((part) => [part.suffix, part]));

describe.each(formats)("%s", (_, tensors, read) => {
  it("refuses a tensor that is cut short, flattened or of no length, naming it", () => {
    expect(read(bySuffix(tensors)).shape).toEqual([64, 64]);
    for (const part of tensors) {
      const { shape, bytes, suffix } = part;
      const width = bytes.length / shape.reduce((product, size) => product * size, 1);
      // How long codes are that lie along the input, the architecture alone can tell.
      const told = !["qweight", "weight"].includes(suffix);
      for (const other of [
        ...(told ? [[shape[0] - 1, ...shape.slice(1)]] : []),
        [...shape.slice(0, -1), shape[shape.length - 1] + 1],
        [...shape, 1],
        shape.map(() => 0),
        // One zero point may stand for all.
        ...(suffix === "weight_zero_point" ? [] : [[]]),
      ]) {
        const count = other.reduce((product, size) => product * size, 1);
        const wrong = { ...part, shape: other, bytes: new Uint8Array(count * width).fill(1) };
        expect(() => read(bySuffix(tensors).set(suffix, wrong)), `${suffix} [${other}]`).toThrow(
          expect.objectContaining({ code: "QUANTIZED_TENSOR_INVALID" }),
        );
      }
    }
  });

  it("refuses an order of channels that names a group that there is not", () => {
    const index = tensors.find(({ suffix }) => suffix.endsWith("g_idx"));
    if (!index) return;
    for (const group of [-1, 2, 2 ** 31 - 1]) {
      const bytes = new Uint8Array(index.bytes);
      new DataView(bytes.buffer).setInt32(4 * 63, group, true);
      expect(() => read(bySuffix(tensors).set(index.suffix, { ...index, bytes }))).toThrow(
        expect.objectContaining({ code: "QUANTIZED_TENSOR_INVALID", wanted: "0 to 1", got: `${group}` }),
      );
    }
  });
});

it("pack-quantized refuses bits that no code has, and a shape that is none", () => {
  const tensors = bySuffix(packCompressedTensors(given(4, false), "pack-quantized", "float16", "m"));
  for (const bits of [0, 9, 4.5, Number.NaN, 1e9]) {
    expect(() => unpackCompressedTensors(tensors, { bits }, "m")).toThrow(
      expect.objectContaining({ code: "QUANTIZATION_UNSUPPORTED" }),
    );
  }
  const shape = tensors.get("weight_shape")!;
  const bytes = new Uint8Array(BigInt64Array.of(64n, -64n).buffer);
  expect(() =>
    unpackCompressedTensors(tensors.set("weight_shape", { ...shape, bytes }), { bits: 4 }, "m"),
  ).toThrow(expect.objectContaining({ code: "QUANTIZED_TENSOR_INVALID", got: "[64, -64]" }));
});

it("a group has whole channels", () => {
  // ⌈64 / 31.9⌉ is 3, so 31.9 would fit three groups; 64 has no three equal ones.
  expect(() => storedGroupSize(64, 3, 31.9, "m")).toThrow(
    expect.objectContaining({ code: "QUANTIZED_TENSOR_INVALID" }),
  );
});
