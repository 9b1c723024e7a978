import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { endTokens } from "./end-tokens.js";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "layerfold-ends-"));
});
afterAll(() => rm(directory, { recursive: true }));

it("names what generation_config.json says, else config.json, and the tokenizer's own", async () => {
  const ends = (config: object, endId?: number) => endTokens({ directory, config: { ...config } }, { endId });
  const generation = (text: string) => writeFile(join(directory, "generation_config.json"), text);
  expect(await ends({ eos_token_id: 7 }, 2)).toEqual([7, 2]);
  expect(await ends({ eos_token_id: null })).toEqual([]);
  await generation('{ "eos_token_id": [1, 16] }');
  expect(await ends({ eos_token_id: 7 }, 1)).toEqual([1, 16]);
  await generation('{ "eos_token_id": 3 }');
  expect(await ends({ eos_token_id: 7 }, 2)).toEqual([3, 2]);
  await generation('{ "max_new_tokens": 64 }');
  expect(await ends({ eos_token_id: [7, 8] })).toEqual([7, 8]);
  await generation('\ufeff{ "eos_token_id": 5 }');
  expect(await ends({}, 2)).toEqual([5, 2]);
  for (const text of ["{", "[]", '{ "eos_token_id": [1, -1] }', '{ "eos_token_id": 1.5 }']) {
    await generation(text);
    await expect(ends({}, 2)).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  }
  await generation("version https://git-lfs.github.com/spec/v1\n");
  await expect(ends({}, 2)).rejects.toMatchObject({ code: "LFS_POINTER" });
});
