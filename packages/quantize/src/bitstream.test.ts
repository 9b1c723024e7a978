import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packedWords, packRows, transposed, unpackRows } from "./bitstream.js";

// Made by the AutoGPTQ packer (qlinear_cuda_old.py), in = 64, out = 32, groups of 32: qweight's first column, v1 zero points' first row.
const golden = JSON.parse(readFileSync(new URL("../test/golden/gptq-packing.json", import.meta.url), "utf8"));

describe("packRows", () => {
  it.each(["gptq2", "gptq3", "gptq4", "gptq8"])("gives the words of AutoGPTQ's packer: %s", (name) => {
    const { bits, q_first_col, qweight_col0, z_group0, qzeros_row0 } = golden[name];
    expect([...packRows(Uint8Array.from(q_first_col), 1, 64, bits)]).toEqual(qweight_col0);
    const stored = Uint8Array.from(z_group0 as number[], (zero) => zero - 1);
    expect([...packRows(stored, 1, 32, bits)]).toEqual(qzeros_row0);
  });

  it("gives the words of compressed-tensors' pack_to_int32", () => {
    // FORMATS of compressed-tensors ac8e2ba8, executed: signed codes, to which packing adds the middle.
    const pack = (codes: number[], bits: number) => [
      ...packRows(
        Uint8Array.from(codes, (code) => code + 2 ** (bits - 1)),
        1,
        codes.length,
        bits,
      ),
    ];
    const rising = Array.from({ length: 16 }, (_, i) => i - 8);
    expect(pack(rising, 4)).toEqual([1985229328, -19088744]);
    expect(pack(rising.toReversed(), 4)).toEqual([-1985229329, 19088743]);
    expect(pack([-128, -1, 0, 127, 1, 2, 3, 4], 8)).toEqual([-8356096, -2071756159]);
    const three = [-4, -3, -2, -1, 0, 1, 2, 3];
    expect(pack([...three, ...three], 3)).toEqual([-1996831096, 64198]);
    expect(pack([0, 2, -4, 6, -8, 1, 2, 3, 4, 5], 4)).toEqual([-1164909400, 220]);
  });

  it("is undone by unpackRows for every number of bits and ragged sizes", () => {
    const cases = fc
      .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 70 }))
      .chain(([bits, rows, columns]) =>
        fc.record({
          bits: fc.constant(bits),
          rows: fc.constant(rows),
          columns: fc.constant(columns),
          codes: fc.uint8Array({
            min: 0,
            max: 2 ** bits - 1,
            minLength: rows * columns,
            maxLength: rows * columns,
          }),
        }),
      );
    fc.assert(
      fc.property(cases, ({ bits, rows, columns, codes }) => {
        const words = packRows(codes, rows, columns, bits);
        expect(words.length).toBe(rows * packedWords(columns, bits));
        expect(unpackRows(words, rows, columns, bits)).toEqual(codes);
      }),
    );
  });

  it("puts bit b of code j at bit j·bits + b of its row", () => {
    const codes = fc.uint8Array({ min: 0, max: 7, minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(codes, (values) => {
        const words = packRows(values, 1, values.length, 3);
        let stream = 0n;
        values.forEach((value, j) => void (stream |= BigInt(value) << BigInt(3 * j)));
        words.forEach((word, i) => {
          expect(BigInt.asUintN(32, BigInt(word))).toBe((stream >> BigInt(32 * i)) & 0xffffffffn);
        });
      }),
    );
  });
});

it("transposes", () => {
  expect([...transposed(Int32Array.of(1, 2, 3, 4, 5, 6), 2, 3)]).toEqual([1, 4, 2, 5, 3, 6]);
});
