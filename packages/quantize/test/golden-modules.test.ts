import { fileURLToPath } from "node:url";
import { openSafetensors } from "@layerfold/checkpoint";
import { contiguousData, encodeFloats, type QuantizedTensor } from "@layerfold/core";
import {
  type CompressedTensorsLayout,
  dequantize,
  type PackedTensor,
  packAwq,
  packCompressedTensors,
  packGptq,
  runningWeight,
  unpackAwq,
  unpackCompressedTensors,
  unpackGptq,
} from "@layerfold/quantize";
import { afterAll, describe, expect, it } from "vitest";

// Packed and dequantised by compressed-tensors 0.20.0, GPTQModel 7.7.0 and AutoAWQ 0.2.9; see golden/quantized-modules.py.
const file = await openSafetensors(
  fileURLToPath(new URL("./golden/quantized-modules.safetensors", import.meta.url)),
);
const cases = [...file.tensors.keys()]
  .filter((name) => name.endsWith(".dense"))
  .map((name) => name.slice(0, -6));
afterAll(() => file.close());

async function moduleOf(name: string): Promise<Map<string, PackedTensor>> {
  const parts = new Map<string, PackedTensor>();
  for (const [key, { dtype, shape }] of file.tensors) {
    if (!key.startsWith(`${name}.`) || key.endsWith(".dense")) continue;
    const suffix = key.slice(name.length + 1);
    parts.set(suffix, { suffix, dtype, shape, bytes: await file.readBytes(key) });
  }
  return parts;
}

function unpack(name: string, parts: Map<string, PackedTensor>): QuantizedTensor {
  const [, layout, bits, kind] = /^(.*)-(\d)-(.*)$/.exec(name) ?? [];
  const symmetric = kind === "sym";
  if (layout === "gptq_v2") return unpackGptq(parts, { version: "gptq_v2", groupSize: 32, symmetric }, name);
  if (layout === "awq") return unpackAwq(parts, { groupSize: 32, symmetric }, name);
  const blockShape = kind === "block" ? ([16, 32] as const) : undefined;
  return unpackCompressedTensors(parts, { bits: Number(bits), ...(blockShape && { blockShape }) }, name);
}

describe("files of the reference implementations", () => {
  it("are all here", () => expect(cases).toHaveLength(22));

  it.each(cases)("%s: dequantises to the reference's own weights, bit for bit", async (name) => {
    const weight = dequantize(unpack(name, await moduleOf(name)));
    const expected = await file.read(`${name}.dense`);
    expect(weight.shape).toEqual(expected.shape);
    expect(
      Buffer.compare(encodeFloats(weight.data, "float32"), encodeFloats(contiguousData(expected), "float32")),
    ).toBe(0);
  });

  // Float8 with fewer scales than rows is read, never written.
  it.each(cases.filter((name) => !/tensor|block/.test(name.slice(10))))(
    "%s: is packed to the reference's bytes",
    async (name) => {
      const parts = await moduleOf(name);
      const quantized = unpack(name, parts);
      const layout = /^(.*?)-\d/.exec(name)?.[1] as CompressedTensorsLayout | "awq" | "gptq_v2";
      const packed =
        layout === "gptq_v2"
          ? packGptq(quantized, layout, name)
          : layout === "awq"
            ? packAwq(quantized, name)
            : packCompressedTensors(quantized, layout, "bfloat16", name);
      for (const { suffix, dtype, shape, bytes } of packed) {
        const expected = parts.get(suffix);
        expect([suffix, dtype, shape]).toEqual([suffix, expected?.dtype, expected?.shape]);
        expect(Buffer.compare(bytes, expected?.bytes ?? new Uint8Array())).toBe(0);
      }
      expect(packed.map(({ suffix }) => suffix).sort()).toEqual([...parts.keys()].sort());
    },
  );

  it("the kernel's codes are the bytes of weight_packed", async () => {
    const parts = await moduleOf("pack-quantized-4-sym");
    const weight = runningWeight(unpack("pack-quantized-4-sym", parts));
    expect(weight).toMatchObject({ form: "n-bits", bits: 4, blockSize: 32 });
    expect(weight).toHaveProperty("codes", new Uint8Array(parts.get("weight_packed")?.bytes ?? []));
    expect(weight).not.toHaveProperty("zeroPoints");
  });
});
