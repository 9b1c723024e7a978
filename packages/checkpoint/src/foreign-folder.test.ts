import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, expect, it } from "vitest";
import { openCheckpoint } from "./open-checkpoint.js";
import { openTokenizer } from "./tokenizer.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/checkpoint", import.meta.url));
// The form of https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md.
const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${"4d7a".repeat(16)}\nsize 12345\n`;

const parent = await mkdtemp(join(tmpdir(), "layerfold-foreign-"));
afterAll(() => rm(parent, { recursive: true }));
let folder: string;
let count = 0;
beforeEach(async () => {
  folder = join(parent, `${count++}`);
  await mkdir(folder);
});
const put = (name: string, content: string) => writeFile(join(folder, name), content);

it.each([
  ["alone", false],
  ["beside a config", true],
])("names an adapter %s, and the model that it belongs to", async (_, withConfig) => {
  if (withConfig) await cp(join(foldling, "config.json"), join(folder, "config.json"));
  await put("adapter_config.json", '{ "peft_type": "LORA", "base_model_name_or_path": "org/base" }');
  await put("adapter_model.safetensors", "");
  await expect(openCheckpoint(folder)).rejects.toMatchObject({
    code: "CHECKPOINT_ADAPTER",
    wanted: expect.stringMatching(/^org\/base with .*merge_and_unload/),
  });
  await put("adapter_config.json", "{");
  await expect(openCheckpoint(folder)).rejects.toMatchObject({
    code: "CHECKPOINT_ADAPTER",
    wanted: expect.stringMatching(/^its base model with/),
  });
});

it("tells a hub's name from a folder's", async () => {
  await expect(openCheckpoint("some-org/some-name-1.5B")).rejects.toMatchObject({
    code: "CHECKPOINT_MISSING",
    wanted: expect.stringContaining("hf:some-org/some-name-1.5B"),
  });
  for (const path of [join(folder, "nothing"), "./some/name", "../some/name", "a/b/c"]) {
    const wanted = expect.not.stringContaining("hf:");
    await expect(openCheckpoint(path)).rejects.toMatchObject({ code: "CHECKPOINT_MISSING", wanted });
  }
});

it.each(["config.json", "model.safetensors", "tokenizer.json"])(
  "names a Git LFS pointer in place of %s",
  async (name) => {
    await cp(foldling, folder, { recursive: true });
    await put(name, pointer);
    const opening = name === "tokenizer.json" ? openTokenizer(folder) : openCheckpoint(folder);
    await expect(opening).rejects.toMatchObject({
      code: "LFS_POINTER",
      where: expect.stringContaining(name),
    });
  },
);

it("names weights that have another name than they should", async () => {
  await cp(join(foldling, "config.json"), join(folder, "config.json"));
  await put("quantize_config.json", '{ "bits": 4, "group_size": 128 }');
  await put("gptq_model-4bit-128g.safetensors", "");
  await expect(openCheckpoint(folder)).rejects.toMatchObject({
    code: "WEIGHTS_MISSING",
    wanted: expect.stringContaining("model.safetensors"),
    got: "gptq_model-4bit-128g.safetensors",
  });
});
