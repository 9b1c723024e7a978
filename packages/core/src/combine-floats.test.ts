import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { combineFloats, type FloatTerm } from "./combine-floats.js";
import {
  type DType,
  decodeFloats,
  encodeFloats,
  fromBfloat16Bits,
  fromFloat16Bits,
  toBfloat16Bits,
  toFloat16Bits,
} from "./dtype.js";
import { tileSize } from "./float-kernels.js";

const dtypes = ["bfloat16", "float16", "float32", "float64"] as const;
const bytesOf = { bfloat16: 2, float16: 2, float32: 4, float64: 8 } as const;

/** As it is defined, value by value. */
function combined(terms: readonly FloatTerm[], count: number): Float32Array {
  const added = terms.filter(({ factor }) => factor !== 0);
  const values = added.map(({ bytes, dtype }) => decodeFloats(bytes, dtype));
  return Float32Array.from({ length: count }, (_, i) =>
    values
      .slice(1)
      .reduce(
        (sum, value, k) => sum + added[k + 1].factor * value[i],
        values.length === 0 ? 0 : added[0].factor * values[0][i],
      ),
  );
}

const drawn = (count: number, seed: number) =>
  Float32Array.from(
    { length: count },
    (_, i) => Math.sin(seed + i * 12.9898) * 10 ** (((i * 7 + seed) % 9) - 6),
  );

describe("combineFloats", () => {
  it.each(dtypes.flatMap((from) => dtypes.map((to) => [from, to] as const)))(
    "gives the bits of the sum value by value: %s to %s",
    (from, to) => {
      for (const count of [0, 1, 7, 8, 9, tileSize - 1, tileSize, tileSize + 5, 2 * tileSize + 3]) {
        for (const factors of [[0.3, 0.7], [1], [], [0, 0.25, 0, 0.5, 0.25], [-2, 1], [0]]) {
          const terms = factors.map((factor, k) => ({
            bytes: encodeFloats(drawn(count, k), from),
            dtype: from,
            factor,
          }));
          const target = new Uint8Array(count * bytesOf[to]).fill(255);
          expect(combineFloats(terms, to, target)).toBe(true);
          expect(Buffer.compare(target, encodeFloats(combined(terms, count), to))).toBe(0);
        }
      }
    },
  );

  it("reads and writes where no element is aligned", () => {
    const values = drawn(100, 3);
    for (const dtype of dtypes) {
      const bytes = encodeFloats(values, dtype);
      const shifted = new Uint8Array(bytes.length + 1);
      shifted.set(bytes, 1);
      const target = new Uint8Array(bytes.length + 1);
      const terms = [{ bytes: shifted.subarray(1), dtype, factor: 1 }];
      expect(combineFloats(terms, dtype, target.subarray(1))).toBe(true);
      expect(target.subarray(1)).toEqual(bytes);
    }
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "tells of %s that goes in, wherever",
    (bad) => {
      for (const dtype of dtypes) {
        for (const at of [0, 7, tileSize - 1, tileSize, tileSize + 2]) {
          for (const factor of [0, 0.5]) {
            const values = drawn(tileSize + 3, 1);
            const good = { bytes: encodeFloats(values, dtype), dtype, factor: 0.5 };
            const spoiled = { bytes: encodeFloats(values.with(at, bad), dtype), dtype, factor };
            expect(combineFloats([good, spoiled], dtype, new Uint8Array(good.bytes.length))).toBe(false);
          }
        }
      }
    },
  );

  it.each<[DType, number, number]>([
    ["float16", 65504, 65505],
    ["bfloat16", 2 ** 127 * (2 - 2 ** -7), 2 ** 127 * (2 - 2 ** -8)],
    ["float32", 2 ** 127 * (2 - 2 ** -23), 2 ** 127 * (2 - 2 ** -24)],
  ])("tells of a sum that %s does not hold", (dtype, held, lost) => {
    for (const sign of [1, -1]) {
      // Halves that float64 alone holds.
      const term = (factor: number) => ({
        bytes: encodeFloats(Float32Array.of(0, 2 ** 100), "float32"),
        dtype: "float32" as const,
        factor,
      });
      const target = new Uint8Array(2 * (dtype === "float32" ? 4 : 2));
      expect(combineFloats([term((sign * held) / 2 ** 100)], dtype, target)).toBe(true);
      expect(decodeFloats(target, dtype)[1]).toBe(sign * held);
      expect(combineFloats([term((sign * lost) / 2 ** 100)], dtype, target)).toBe(false);
    }
  });

  it("refuses arrays of other lengths", () => {
    const term = { bytes: new Uint8Array(8), dtype: "bfloat16" as const, factor: 1 };
    expect(() => combineFloats([term], "bfloat16", new Uint8Array(6))).toThrow(
      expect.objectContaining({ code: "TENSOR_SHAPE", wanted: "3 values", got: "4" }),
    );
  });
});

describe.each([
  ["bfloat16", toBfloat16Bits, fromBfloat16Bits],
  ["float16", toFloat16Bits, fromFloat16Bits],
] as const)("%s by tiles", (dtype, toBits, fromBits) => {
  it("decodes every value, and encodes what it decoded", () => {
    const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const bytes = new Uint8Array(bits.buffer);
    const values = decodeFloats(bytes, dtype);
    expect(values).toEqual(Float32Array.from(bits, fromBits));
    const again = new Uint16Array(encodeFloats(values, dtype).buffer);
    bits.forEach((b, i) => {
      if (Number.isNaN(values[i]))
        expect(decodeFloats(Uint8Array.from([again[i] & 255, again[i] >> 8]), dtype)[0]).toBeNaN();
      else if (again[i] !== b) expect.fail(`${b} came back as ${again[i]}`);
    });
  });

  it("encodes as single values are encoded", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 1, maxLength: 64 }),
        (words) => {
          const values = new Float32Array(Uint32Array.from(words).buffer);
          const kept = values.map((x) => (Number.isFinite(x) && !(Math.abs(x) <= 65504) ? x * 2 ** -120 : x));
          const got = new Uint16Array(encodeFloats(kept, dtype).buffer);
          expect([...got]).toEqual(Array.from(kept, toBits));
        },
      ),
      { numRuns: 300 },
    );
  });
});
