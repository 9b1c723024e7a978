import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  bytesPerElement,
  decodeFloats,
  encodeFloats,
  fromBfloat16Bits,
  fromFloat16Bits,
  toBfloat16Bits,
  toFloat16Bits,
} from "./dtype.js";

const halves = [
  { name: "bfloat16", to: toBfloat16Bits, from: fromBfloat16Bits },
  { name: "float16", to: toFloat16Bits, from: fromFloat16Bits },
] as const;

describe.each(halves)("$name", ({ name, to, from }) => {
  it("gives back every one of its 65,536 values", () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = from(bits);
      if (Number.isNaN(value)) expect(from(to(value))).toBeNaN();
      else if (to(value) !== bits) expect.fail(`${bits} came back as ${to(value)}`);
    }
  });

  it("rounds to the nearest neighbour, ties to even", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const bits = to(x);
        const error = Math.abs(from(bits) - x);
        if (!Number.isFinite(from(bits))) return;
        for (const neighbour of [bits - 1, bits + 1]) {
          const value = from(neighbour & 0xffff);
          if (!Number.isFinite(value) || Math.sign(value) * Math.sign(x) < 0) continue;
          const other = Math.abs(value - x);
          expect(error < other || (error === other && (bits & 1) === 0) || value === from(bits)).toBe(true);
        }
      }),
    );
  });

  it("encodes and decodes arrays as it does single values, at odd byte offsets too", () => {
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true, maxLength: 20 }), (all) => {
        const values = all.filter((x) => Number.isFinite(from(to(x))) || !Number.isFinite(x));
        const bytes = encodeFloats(values, name);
        expect(bytes.byteLength).toBe(values.length * bytesPerElement(name));
        const shifted = new Uint8Array(bytes.byteLength + 1);
        shifted.set(bytes, 1);
        const wanted = Array.from(values, (x) => from(to(x)));
        expect(Array.from(decodeFloats(bytes, name))).toEqual(wanted);
        expect(Array.from(decodeFloats(shifted.subarray(1), name))).toEqual(wanted);
        expect(encodeFloats(Float64Array.from(values), name)).toEqual(bytes);
      }),
    );
  });
});

it.each([
  // The largest float16 is 65504; halfway to the next step, 65520, rounds to infinity.
  ["float16", [65504, 65519.9], 65520],
  // The largest bfloat16 is 2^127 · (2 − 2^−7); halfway to 2^128 and beyond is infinite.
  ["bfloat16", [2 ** 127 * (2 - 2 ** -7)], 2 ** 127 * (2 - 2 ** -8)],
  ["float32", [2 ** 127 * (2 - 2 ** -23)], 2 ** 128],
] as const)("refuses to make a finite number infinite in %s", (dtype, held, lost) => {
  expect(decodeFloats(encodeFloats(Float64Array.from(held), dtype), dtype).every(Number.isFinite)).toBe(true);
  const given = Float64Array.of(Number.POSITIVE_INFINITY, Number.NaN, 1);
  expect([...decodeFloats(encodeFloats(given, dtype), dtype)]).toEqual([...given]);
  for (const value of [lost, -lost]) {
    const values = [
      Float64Array.of(0, value),
      ...(Math.fround(value) === value ? [Float32Array.of(0, value)] : []),
    ];
    for (const each of values) {
      expect(() => encodeFloats(each, dtype)).toThrow(
        expect.objectContaining({ code: "FLOAT_OVERFLOW", got: `${value} at index 1` }),
      );
    }
  }
});

it("knows the values that numpy gives", () => {
  // numpy 2.4: np.float16(x).view(np.uint16); ml_dtypes bfloat16 likewise.
  expect(toFloat16Bits(1)).toBe(0x3c00);
  expect(toFloat16Bits(65504)).toBe(0x7bff);
  expect(toFloat16Bits(65520)).toBe(0x7c00);
  expect(toFloat16Bits(2 ** -24)).toBe(1);
  expect(toFloat16Bits(2 ** -25)).toBe(0);
  expect(toBfloat16Bits(1)).toBe(0x3f80);
  expect(toBfloat16Bits(Math.fround(3.389e38))).toBe(0x7f7f);
});

it("refuses what is not a floating-point type", () => {
  expect(() => decodeFloats(new Uint8Array(8), "int64")).toThrow(
    expect.objectContaining({ code: "DTYPE_UNSUPPORTED" }),
  );
  expect(() => encodeFloats(new Float32Array(1), "int8")).toThrow(
    expect.objectContaining({ code: "DTYPE_UNSUPPORTED" }),
  );
});

it("leaves float32 and float64 as they are, and rounds the one to the other", () => {
  const narrow = Float32Array.of(1, -0, 0.1, 3e38, -1e-45);
  expect(decodeFloats(encodeFloats(narrow, "float32"), "float32")).toEqual(narrow);
  expect(encodeFloats(narrow, "float32").buffer).toBe(narrow.buffer);
  const wide = Float64Array.of(0.1, 1 / 3, -1e-320);
  expect(encodeFloats(wide, "float32")).toEqual(
    encodeFloats(Float32Array.from(wide, Math.fround), "float32"),
  );
  expect(decodeFloats(encodeFloats(wide, "float64"), "float64")).toEqual(Float32Array.from(wide));
  expect(new Float64Array(encodeFloats(wide, "float64").slice().buffer)).toEqual(wide);
});

it("rounds ties to even and keeps NaN, in arrays too", () => {
  // 1 + 2^-8 lies midway between the bfloat16 1 and 1 + 2^-7, 1 + 3 · 2^-8 between 1 + 2^-7 and 1 + 2^-6: last bits 0, 1 and 0.
  const ties = [1 + 2 ** -8, 1 + 3 * 2 ** -8, -(1 + 3 * 2 ** -8)];
  const wanted = [1, 1 + 2 ** -6, -(1 + 2 ** -6)];
  // In halves the steps are 2^-10.
  const halfTies = [1 + 2 ** -11, 1 + 3 * 2 ** -11, -(1 + 3 * 2 ** -11)];
  const halfWanted = [1, 1 + 2 ** -9, -(1 + 2 ** -9)];
  for (const values of [Float32Array, Float64Array]) {
    expect([...decodeFloats(encodeFloats(values.from(ties), "bfloat16"), "bfloat16")]).toEqual(wanted);
    expect([...decodeFloats(encodeFloats(values.from(halfTies), "float16"), "float16")]).toEqual(halfWanted);
    for (const name of ["bfloat16", "float16"] as const) {
      const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0];
      expect([...decodeFloats(encodeFloats(values.from(special), name), name)]).toEqual(special);
    }
  }
});
