import type { DType, QuantizedTensor } from "@layerfold/core";
import { encodeFloats, tensor } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { packAwq, unpackAwq } from "./awq-format.js";
import { canonicalBlock, linearRoles, storedBlock } from "./canonical-block.js";
import { packCompressedTensors, unpackCompressedTensors } from "./compressed-tensors-format.js";
import { packGptq, unpackGptq } from "./gptq-format.js";
import { gridOfRange, resolveGroupSize } from "./grid.js";
import { type PackedTensor, required, scaleBytes, storedGroupSize, wordBytes } from "./packed-tensor.js";

const parts = (tensors: PackedTensor[]) => new Map(tensors.map((part) => [part.suffix, part]));
const code = (wanted: string) => expect.objectContaining({ code: wanted });
const notExpressible = code("QUANTIZATION_NOT_EXPRESSIBLE");
const invalid = code("QUANTIZED_TENSOR_INVALID");

/** [out, in] 8-bit codes that are all different for a while. */
const eight = (rows: number, columns: number, groups: number, symmetric: boolean): QuantizedTensor => ({
  bits: 8,
  shape: [rows, columns],
  groupSize: columns / groups,
  symmetric,
  codes: Uint8Array.from({ length: rows * columns }, (_, i) => (37 * i) % 256),
  scales: Float32Array.from({ length: rows * groups }, (_, i) => (i + 1) / 64),
  zeroPoints: Uint8Array.from({ length: rows * groups }, (_, i) => (symmetric ? 128 : 100 + i)),
});

describe("int-quantized", () => {
  it.each([true, false])("gives back what it was given, symmetric %s", (symmetric) => {
    const given = eight(3, 8, 2, symmetric);
    const packed = packCompressedTensors(given, "int-quantized", "float32", "m");
    expect(packed.map(({ suffix, dtype, shape }) => [suffix, dtype, shape])).toEqual([
      ["weight", "int8", [3, 8]],
      ["weight_scale", "float32", [3, 2]],
      ...(symmetric ? [] : [["weight_zero_point", "int8", [3, 2]]]),
    ]);
    expect(unpackCompressedTensors(parts(packed), { bits: 8, groupSize: 4 }, "m")).toEqual(given);
  });

  it("stores code − 128 in two's complement", () => {
    const given = { ...eight(1, 4, 1, true), codes: Uint8Array.of(0, 127, 128, 255) };
    const [weight] = packCompressedTensors(given, "int-quantized", "float32", "m");
    expect([...new Int8Array(Uint8Array.from(weight.bytes).buffer)]).toEqual([-128, -1, 0, 127]);
  });

  it("takes one zero point for all, and zeros for none", () => {
    const packed = parts(packCompressedTensors(eight(2, 4, 1, true), "int-quantized", "float32", "m"));
    const zero = (...values: number[]) => {
      const bytes = new Uint8Array(Int8Array.from(values).buffer);
      const suffix = "weight_zero_point";
      const module = new Map(packed).set(suffix, { suffix, dtype: "int8", shape: [values.length, 1], bytes });
      return unpackCompressedTensors(module, { bits: 8 }, "m");
    };
    expect(zero(5)).toMatchObject({ symmetric: false, zeroPoints: Uint8Array.of(133, 133) });
    expect(zero(-3, 4)).toMatchObject({ symmetric: false, zeroPoints: Uint8Array.of(125, 132) });
    expect(zero(0, 0)).toMatchObject({ symmetric: true, zeroPoints: Uint8Array.of(128, 128) });
  });

  it("refuses other than 8 bits, an order of channels, and float8 codes", () => {
    const pack = (given: QuantizedTensor) => () =>
      packCompressedTensors(given, "int-quantized", "float32", "m");
    const plain = eight(2, 4, 1, true);
    expect(pack(plain)).not.toThrow();
    expect(pack({ ...plain, bits: 4 })).toThrow(notExpressible);
    expect(pack({ ...plain, groupIndex: new Int32Array(4) })).toThrow(notExpressible);
    expect(pack({ ...plain, encoding: "float8_e4m3" })).toThrow(notExpressible);
  });
});

describe("float-quantized", () => {
  const float8 = {
    ...eight(3, 4, 1, true),
    zeroPoints: new Uint8Array(3),
    encoding: "float8_e4m3" as const,
  };

  it("gives back what it was given, and refuses integer codes", () => {
    const packed = packCompressedTensors(float8, "float-quantized", "float32", "m");
    expect(packed.map(({ suffix, dtype }) => [suffix, dtype])).toEqual([
      ["weight", "float8_e4m3"],
      ["weight_scale", "float32"],
    ]);
    expect(unpackCompressedTensors(parts(packed), { bits: 8 }, "m")).toEqual(float8);
    const { encoding: _, ...integers } = float8;
    expect(() => packCompressedTensors(integers, "float-quantized", "float32", "m")).toThrow(notExpressible);
    expect(() => packCompressedTensors(float8, "pack-quantized", "float32", "m")).toThrow(notExpressible);
  });

  it("spreads scales of the whole tensor, of rows and of blocks, those at the edge smaller", () => {
    const read = (scales: number[], shape: number[], blockShape?: [number, number]) => {
      const bytes = encodeFloats(Float32Array.from(scales), "float32");
      const weight = {
        suffix: "weight",
        dtype: "float8_e4m3" as DType,
        shape: [5, 4],
        bytes: new Uint8Array(20),
      };
      const scale = { suffix: "weight_scale", dtype: "float32" as DType, shape, bytes };
      return unpackCompressedTensors(
        parts([weight, scale]),
        { bits: 8, ...(blockShape && { blockShape }) },
        "m",
      );
    };
    expect(read([3], [1])).toMatchObject({ groupSize: 4, scales: new Float32Array(5).fill(3) });
    expect(read([1, 2, 3, 4, 5], [5, 1])).toMatchObject({
      groupSize: 4,
      scales: Float32Array.of(1, 2, 3, 4, 5),
    });
    // Rows 0 to 3 lie in the first row of blocks, row 4 in the second; two columns to a block.
    expect(read([1, 2, 3, 4], [2, 2], [4, 2])).toMatchObject({
      groupSize: 2,
      scales: Float32Array.of(1, 2, 1, 2, 1, 2, 1, 2, 3, 4),
    });
  });
});

describe("pack-quantized", () => {
  const given: QuantizedTensor = {
    ...eight(3, 8, 2, false),
    bits: 4,
    codes: Uint8Array.from({ length: 24 }, (_, i) => (7 * i) % 16),
    zeroPoints: Uint8Array.of(1, 2, 3, 4, 5, 6),
  };

  it("keeps an order of channels", () => {
    const ordered = { ...given, groupIndex: Int32Array.of(1, 0, 0, 1, 1, 0, 1, 0) };
    const packed = parts(packCompressedTensors(ordered, "pack-quantized", "float32", "m"));
    expect(packed.get("weight_g_idx")).toMatchObject({ dtype: "int32", shape: [8] });
    expect(unpackCompressedTensors(packed, { bits: 4, groupSize: 4 }, "m")).toEqual(ordered);
  });

  it("reads the shape in 32 bits too, and refuses words that do not fit it", () => {
    const packed = parts(packCompressedTensors(given, "pack-quantized", "float32", "m"));
    const shape = (rows: number, columns: number) =>
      new Map(packed).set("weight_shape", {
        suffix: "weight_shape",
        dtype: "int32",
        shape: [2],
        bytes: wordBytes(Int32Array.of(rows, columns)),
      });
    const read = (module: typeof packed) => unpackCompressedTensors(module, { bits: 4, groupSize: 4 }, "m");
    expect(read(shape(3, 8))).toEqual(given);
    expect(() => read(shape(3, 16))).toThrow(invalid);
    expect(() => read(shape(4, 8))).toThrow(invalid);
  });
});

describe("gptq", () => {
  const given: QuantizedTensor = {
    bits: 4,
    shape: [32, 64],
    groupSize: 32,
    symmetric: false,
    codes: Uint8Array.from({ length: 2048 }, (_, i) => (5 * i) % 16),
    scales: Float32Array.from({ length: 64 }, (_, i) => (i + 1) / 64),
    zeroPoints: Uint8Array.from({ length: 64 }, (_, i) => 1 + (i % 15)),
  };
  const settings = { version: "gptq_v2", symmetric: false, groupSize: 32 } as const;

  it("keeps an order of channels, and takes neighbours for groups where none is stored", () => {
    const ordered = { ...given, groupIndex: Int32Array.from({ length: 64 }, (_, i) => i % 2) };
    expect(unpackGptq(parts(packGptq(ordered, "gptq_v2", "m")), settings, "m")).toEqual(ordered);
    const without = parts(packGptq(given, "gptq_v2", "m"));
    without.delete("g_idx");
    expect(unpackGptq(without, settings, "m")).toEqual(given);
  });

  it("has v1's zero points one less than v2's, those of 16 steps around", () => {
    const packed = parts(packGptq(given, "gptq", "m"));
    expect(unpackGptq(packed, { ...settings, version: "gptq" }, "m").zeroPoints).toEqual(given.zeroPoints);
    expect(unpackGptq(packed, settings, "m").zeroPoints).toEqual(given.zeroPoints.map((zero) => zero - 1));
    const v2 = parts(packGptq({ ...given, zeroPoints: new Uint8Array(64).fill(15) }, "gptq_v2", "m"));
    // Read as v1, 15 + 1 goes around to 0.
    expect(unpackGptq(v2, { ...settings, version: "gptq" }, "m").zeroPoints).toEqual(new Uint8Array(64));
  });

  it("refuses float8 codes, ragged inputs, and words of no number of bits", () => {
    const pack = (change: Partial<QuantizedTensor>) => () =>
      packGptq({ ...given, ...change }, "gptq_v2", "m");
    expect(pack({ encoding: "float8_e4m3" })).toThrow(notExpressible);
    expect(pack({ shape: [32, 40] })).toThrow(notExpressible);
    expect(pack({ shape: [40, 32] })).toThrow(notExpressible);
    const packed = parts(packGptq(given, "gptq_v2", "m"));
    const index = packed.get("g_idx")!;
    packed.set("g_idx", { ...index, shape: [48] });
    expect(() => unpackGptq(packed, settings, "m")).toThrow(invalid);
  });
});

describe("awq", () => {
  const given: QuantizedTensor = { ...eight(8, 4, 1, false), bits: 4, codes: new Uint8Array(32).fill(3) };

  it("refuses other than 4 bits, an order of channels, and outputs that do not fill words", () => {
    const pack = (change: Partial<QuantizedTensor>) => () => packAwq({ ...given, ...change }, "m");
    expect(pack({})).not.toThrow();
    expect(pack({ bits: 3 })).toThrow(notExpressible);
    expect(pack({ encoding: "float8_e4m3" })).toThrow(notExpressible);
    expect(pack({ groupIndex: new Int32Array(4) })).toThrow(notExpressible);
    expect(pack({ shape: [4, 8] })).toThrow(notExpressible);
  });

  it("refuses words and scales that disagree on the outputs", () => {
    const packed = parts(packAwq({ ...given, zeroPoints: new Uint8Array(8) }, "m"));
    const scales = packed.get("scales")!;
    packed.set("scales", { ...scales, shape: [1, 16] });
    expect(() => unpackAwq(packed, { symmetric: false }, "m")).toThrow(invalid);
  });
});

describe("parts of a file", () => {
  it("group sizes are what the config says where that fits, else what the number of groups says", () => {
    expect(storedGroupSize(64, 2, 32, "m")).toBe(32);
    // Three groups of 32 in 80 channels: the last is short.
    expect(storedGroupSize(80, 3, 32, "m")).toBe(32);
    expect(storedGroupSize(64, 4, 32, "m")).toBe(16);
    expect(storedGroupSize(64, 4, undefined, "m")).toBe(16);
    expect(storedGroupSize(64, 1, -1, "m")).toBe(64);
    expect(() => storedGroupSize(64, 3, 32, "m")).toThrow(invalid);
    expect(() => storedGroupSize(64, 3, undefined, "m")).toThrow(invalid);
  });

  it("tensors are there and of a type that was asked for", () => {
    const module = parts([{ suffix: "scales", dtype: "float16", shape: [1], bytes: new Uint8Array(2) }]);
    expect(required(module, "scales", ["float32", "float16"], "m").dtype).toBe("float16");
    expect(() => required(module, "scales", ["float32"], "m")).toThrow(
      /wanted float32, got float16, at m\.scales/,
    );
    expect(() => required(module, "qzeros", ["int32"], "m")).toThrow(/got nothing, at m\.qzeros/);
  });

  it("scales are stored only in a type that holds them", () => {
    expect(scaleBytes(Float32Array.of(0.5), "float16", "m")).toEqual(Uint8Array.of(0, 0x38));
    expect(scaleBytes(Float32Array.of(0.1), "float32", "m")).toHaveLength(4);
    expect(() => scaleBytes(Float32Array.of(0.5, 0.1), "float16", "m")).toThrow(code("SCALE_DTYPE_MISMATCH"));
  });
});

describe("grids", () => {
  const rule = {
    bits: 4,
    symmetric: false,
    rangeIncludesZero: true,
    smallestZeroPoint: 0,
    scaleDtype: "float32",
  } as const;

  it("widen to hold 0 on either side, only where asked", () => {
    expect(gridOfRange(1, 4, rule)).toEqual({ scale: Math.fround(4 / 15), zeroPoint: 0 });
    expect(gridOfRange(-4, -1, rule)).toEqual({ scale: Math.fround(4 / 15), zeroPoint: 15 });
    const narrow = { ...rule, rangeIncludesZero: false };
    // round(−(−4) / (3/15)) = 20, more than 15.
    expect(gridOfRange(-4, -1, narrow)).toEqual({ scale: Math.fround(3 / 15), zeroPoint: 15 });
    // A constant group has AWQ's least range, 1e-5.
    expect(gridOfRange(2, 2, narrow).scale).toBe(Math.fround(1e-5 / 15));
    expect(gridOfRange(0, 1, rule).scale).toBe(Math.fround(1 / 15));
    expect(gridOfRange(-1, 0, rule)).toEqual({ scale: Math.fround(1 / 15), zeroPoint: 15 });
    expect(gridOfRange(0, 0, rule)).toEqual({ scale: 1, zeroPoint: 8 });
  });

  it("never have a scale of 0, which a group that is not 0 would divide by", () => {
    const tiny = { ...rule, symmetric: true, scaleDtype: "float16" } as const;
    expect(gridOfRange(-1e-12, 1e-12, tiny).scale).toBe(2 ** -24);
    expect(gridOfRange(-1e-40, 1e-40, { ...tiny, scaleDtype: "bfloat16" }).scale).toBe(2 ** -126);
  });

  it("groups divide the input, or are the row", () => {
    expect(resolveGroupSize(48, 16)).toBe(16);
    expect(resolveGroupSize(48, -1)).toBe(48);
    expect(() => resolveGroupSize(48, 32)).toThrow(
      expect.objectContaining({ wanted: "-1, 8, 12, 16, 24, 48" }),
    );
  });
});

describe("canonical blocks", () => {
  it("turn weights stored [in, out] and add what norms store without, and back", () => {
    const view = {
      layer: 0,
      type: "t",
      tensors: new Map([
        ["mlp.up", tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])],
        ["router", tensor(Float32Array.of(1, 2, 3, 4), [2, 2])],
        ["norm.mlp", tensor(Float32Array.of(0.5, -0.5))],
        ["norm.attention", tensor(Float32Array.of(1, 2))],
      ]),
    };
    const spec = {
      linearLayout: "in-out",
      mixerNorm: { weight: "norm.attention", weightOffset: 0 },
      feedForwardNorm: { weight: "norm.mlp", weightOffset: 1 },
      tensors: new Map([...view.tensors.keys()].map((role) => [role, role])),
      shapes: new Map([...view.tensors].map(([role, { shape }]) => [role, shape])),
    } as unknown as Parameters<typeof canonicalBlock>[1];
    expect(linearRoles(spec)).toEqual(["mlp.up"]);
    const { tensors } = canonicalBlock(view, spec);
    const up = tensors.get("mlp.up")!;
    expect([up.shape, up.stride]).toEqual([
      [3, 2],
      [1, 3],
    ]);
    expect([...tensors.get("norm.mlp")!.data]).toEqual([1.5, 0.5]);
    expect(tensors.get("norm.attention")).toBe(view.tensors.get("norm.attention"));
    expect(tensors.get("router")).toBe(view.tensors.get("router"));
    const back = storedBlock(canonicalBlock(view, spec), spec);
    expect([...back.tensors.get("norm.mlp")!.data]).toEqual([0.5, -0.5]);
    expect(back.tensors.get("mlp.up")!.stride).toEqual([3, 1]);
    const plain = canonicalBlock(view, { ...spec, linearLayout: "out-in" });
    expect(plain.tensors.get("mlp.up")).toBe(view.tensors.get("mlp.up"));
  });
});
