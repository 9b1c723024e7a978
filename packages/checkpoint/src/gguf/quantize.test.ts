import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { dequantize, type GgmlType } from "./dequantize.js";
import { quantizeRows } from "./quantize.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

interface Row {
  name: string;
  columns: number;
  values: string;
  importance: string;
  q8_0: string;
  /** By type: the sum of squares, and the same weighed by the importance, of ggml's own quantisers. */
  errors: Record<string, [plain: number, weighed: number]>;
}

// ggml's own quantisers, by test/golden/make_quantize.py.
const golden = fileURLToPath(new URL("../../test/golden/quantize.json", import.meta.url));
const rows: Row[] = JSON.parse(await readFile(golden, "utf8"));
const floats = (text: string) => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);

function error(values: Float32Array, stored: Float32Array, importance?: Float32Array): number {
  const { length } = importance ?? [];
  return values.reduce((sum, value, i) => {
    return sum + (importance?.[i % length!] ?? 1) * (stored[i] - value) ** 2;
  }, 0);
}

describe.each(rows)("of $name", ({ columns, values: text, importance: weights, q8_0, errors }) => {
  const values = floats(text);
  const importance = floats(weights);

  it.each(Object.keys(errors))("%s loses no more than ggml's", (type) => {
    const stored = (weighed?: Float32Array) =>
      dequantize(type as GgmlType, quantizeRows(type as GgmlType, values, columns, weighed));
    expect(error(values, stored())).toBeLessThanOrEqual(errors[type][0]);
    expect(error(values, stored(importance), importance)).toBeLessThanOrEqual(errors[type][1]);
  });

  it("Q8_0 has ggml's bytes", () => {
    expect(Buffer.from(quantizeRows("Q8_0", values, columns)).toString("base64")).toBe(q8_0);
  });
});

const quantized = ["Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"] as const;

it.each(quantized)("%s keeps what lies on a grid, and zeros", (type) => {
  // Multiples of 1/16 from −8/16 to 7/16: within the 11 bits of a scale, and the steps of those that do not choose theirs.
  const values = Float32Array.from({ length: 256 }, (_, i) => ((i * 5) % 16) / 16 - 0.5);
  const stored = dequantize(type, quantizeRows(type, values, 256));
  const within = type === "Q8_0" || type === "Q6_K" ? 0.5 / 127 : 2 ** -12;
  for (const [i, value] of stored.entries()) expect(Math.abs(value - values[i])).toBeLessThan(within);
  expect(dequantize(type, quantizeRows(type, new Float32Array(512), 256))).toEqual(new Float32Array(512));
});

it.each(quantized)("%s takes inputs that never came as alike", (type) => {
  const values = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i));
  const nothing = quantizeRows(type, values, 256, new Float32Array(256));
  expect(nothing).toEqual(quantizeRows(type, values, 256));
});

it("refuses what has no number, no scale, no whole blocks, or no writer", () => {
  const row = (value: number) => new Float32Array(256).fill(value);
  expect(() => quantizeRows("Q4_K", row(Number.NaN), 256)).toThrow(code("WEIGHT_NOT_FINITE"));
  expect(() => quantizeRows("Q4_0", row(1e7), 256)).toThrow(code("FLOAT_OVERFLOW"));
  expect(() => quantizeRows("F16", row(1e7), 256)).toThrow(code("FLOAT_OVERFLOW"));
  expect(() => quantizeRows("Q4_K", row(1), 128)).toThrow(code("GGUF_INVALID"));
  expect(() => quantizeRows("Q2_K", row(1), 256)).toThrow(code("GGUF_TYPE_UNKNOWN"));
});
