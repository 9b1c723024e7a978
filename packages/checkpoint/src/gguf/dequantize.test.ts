import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { dequantize, type GgmlType, ggmlByteLength, ggmlTypes } from "./dequantize.js";

const rows: { type: GgmlType; bytes: string; float32: string }[] = JSON.parse(
  readFileSync(new URL("../../test/golden/dequantize.json", import.meta.url), "utf8"),
);

it("covers every type", () => {
  expect(rows.map(({ type }) => type).sort()).toEqual([...ggmlTypes].sort());
});

it.each(rows.map((row) => [row.type, row] as const))("decodes %s to the reference's bits", (type, row) => {
  const bytes = Uint8Array.from(Buffer.from(row.bytes, "base64"));
  const values = dequantize(type, bytes);
  expect(Buffer.from(values.buffer).toString("base64")).toBe(row.float32);
  expect(ggmlByteLength(type, values.length, "here")).toBe(bytes.length);
});

it("refuses a tensor that does not fill whole blocks", () => {
  expect(() => ggmlByteLength("Q4_K", 128, "here")).toThrow(
    expect.objectContaining({ code: "GGUF_INVALID" }),
  );
});
