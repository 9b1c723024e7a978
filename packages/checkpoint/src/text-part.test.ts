import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { architectureOf } from "./families.js";
import { openCheckpoint } from "./open-checkpoint.js";
import { openSafetensors, type TensorSource, writeSafetensors } from "./safetensors.js";
import { textPartOf } from "./text-part.js";

const text = fileURLToPath(new URL("../../graph/test/golden/variants/gemma3-head-20", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "layerfold-text-part-"));
afterAll(() => rm(folder, { recursive: true }));

it.each([
  ["language_model.", "language_model."],
  // As transformers has it in memory since 4.52.
  ["model.language_model.", ""],
])("a gemma3 with tensors %s… is the gemma3_text inside it", async (base, head) => {
  const config = JSON.parse(await readFile(join(text, "config.json"), "utf8"));
  const { architectures: _, ...inner } = config;
  const outer = {
    architectures: ["Gemma3ForConditionalGeneration"],
    model_type: "gemma3",
    text_config: inner,
    vision_config: { model_type: "siglip_vision_model" },
  };
  await writeFile(join(folder, "config.json"), JSON.stringify(outer));
  const alone = await openSafetensors(join(text, "model.safetensors"));
  const renamed = (name: string) =>
    name.startsWith("model.") ? base + (head === "" ? name.slice("model.".length) : name) : head + name;
  const tensors: TensorSource[] = [...alone.tensors.values()].map(({ name, dtype, shape }) => ({
    name: renamed(name),
    dtype,
    shape,
    bytes: () => alone.readBytes(name),
  }));
  const eye = {
    name: "vision_tower.eye",
    dtype: "float32",
    shape: [1],
    bytes: () => new Uint8Array(4),
  } as const;
  await writeSafetensors(join(folder, "model.safetensors"), [...tensors, eye], {});

  const events: unknown[] = [];
  const [whole, wanted] = [
    await openCheckpoint(folder, { report: (event) => events.push(event) }),
    await openCheckpoint(text),
  ];
  expect(events).toEqual([expect.objectContaining({ code: "TEXT_PART" })]);
  expect(whole.architecture).toEqual(wanted.architecture);
  expect([...whole.tensors.keys()].sort()).toEqual([...wanted.tensors.keys()].sort());
  for (const [name, { dtype, shape }] of wanted.tensors) {
    expect(whole.tensors.get(name)).toMatchObject({ name, dtype, shape });
    expect(await whole.readBytes(name)).toEqual(await wanted.readBytes(name));
  }
  expect((await whole.block(1)).tensors).toEqual((await wanted.block(1)).tensors);
  expect(whole.config).toMatchObject({ model_type: "gemma3_text", architectures: ["Gemma3ForCausalLM"] });
  await Promise.all([alone, whole, wanted].map((file) => file.close()));
});

it("fills in what the hub's configs leave to transformers", () => {
  // What google/gemma-3-4b-it says of its language model.
  const config = {
    model_type: "gemma3",
    eos_token_id: [1, 106],
    text_config: {
      hidden_size: 2560,
      intermediate_size: 10240,
      model_type: "gemma3_text",
      num_hidden_layers: 34,
      rope_scaling: { factor: 8.0, rope_type: "linear" },
      sliding_window: 1024,
    },
  };
  const part = textPartOf(config)!;
  expect(part.config.eos_token_id).toEqual([1, 106]);
  const { blocks, vocabularySize, maxPositionEmbeddings } = architectureOf(part.config);
  expect(vocabularySize).toBe(262_208);
  expect(maxPositionEmbeddings).toBe(131_072);
  expect(blocks).toHaveLength(34);
  expect(blocks.map(({ type }) => type.startsWith("full")).indexOf(true)).toBe(5);
  expect(blocks[0].mixer).toMatchObject({
    headCount: 8,
    keyValueHeadCount: 4,
    headSize: 256,
    scale: 256 ** -0.5,
    slidingWindow: 1024,
  });
});

it("leaves plain language models alone, and names other composites", () => {
  expect(textPartOf({ model_type: "llama" })).toBeUndefined();
  expect(() => textPartOf({ model_type: "llava", text_config: { model_type: "llama" } })).toThrow(
    expect.objectContaining({ code: "ARCHITECTURE_COMPOSITE", got: "llava around llama" }),
  );
});
