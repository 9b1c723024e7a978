import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { readGgufHeader, writeGgufHeader } from "./gguf-header.js";

const golden = new URL("../../../checkpoint/test/golden/", import.meta.url);

it.each(["llama.gguf", "qwen3.gguf"])("writes the header of %s as it read it", async (name) => {
  const bytes = await readFile(new URL(name, golden));
  expect(bytes.equals(writeGgufHeader(readGgufHeader(bytes)))).toBe(true);
});
