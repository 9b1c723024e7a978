import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ReportEvent, Rng } from "@layerfold/core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Checkpoint } from "./checkpoint.js";
import type { ModelConfig } from "./family.js";
import { keepLayers } from "./keep-layers.js";
import { layerOf, renamedTensor } from "./layer-name.js";
import { openCheckpoint } from "./open-checkpoint.js";
import { randomTensors } from "./random-tensors.js";
import { openSafetensors, type TensorSource, writeSafetensors } from "./safetensors.js";
import { writeCheckpoint } from "./write-checkpoint.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/checkpoint", import.meta.url));
const config: ModelConfig = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 10,
  max_position_embeddings: 16,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
};
const code = (wanted: string) => expect.objectContaining({ code: wanted });

/** Mulberry32 seeded by the label; good enough to tell tensors apart. */
function rng(label = ""): Rng {
  let state = [...label].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) | 0, 7);
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    uniform,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    integer: (bound) => Math.floor(uniform() * bound),
    permutation: () => new Int32Array(),
    fork: (fork) => rng(`${label}/${fork}`),
  };
}

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-checkpoint-"));
});
afterAll(() => rm(folder, { recursive: true }));
beforeEach(async () => {
  model = join(folder, "model");
  await rm(model, { recursive: true, force: true });
  await writeCheckpoint(model, { config, tensors: randomTensors(config, rng()) });
});

/** Writes the model's weights anew, changed. */
async function rewrite(change: (tensors: TensorSource[]) => TensorSource[]) {
  const path = join(model, "model.safetensors");
  const opened = await openSafetensors(path);
  const tensors: TensorSource[] = [];
  for (const { name, dtype, shape } of opened.tensors.values()) {
    const bytes = await opened.readBytes(name);
    tensors.push({ name, dtype, shape, bytes: () => bytes });
  }
  await opened.close();
  await writeSafetensors(path, change(tensors));
}

const editConfig = (change: ModelConfig) =>
  writeFile(join(model, "config.json"), JSON.stringify({ ...config, ...change }));

/** Opens, looks, closes. */
async function opened<T>(directory: string, look: (checkpoint: Checkpoint, events: unknown[]) => T) {
  const events: ReportEvent[] = [];
  const checkpoint = await openCheckpoint(directory, { report: (event) => events.push(event) });
  try {
    return await look(checkpoint, events);
  } finally {
    await checkpoint.close();
  }
}

const up = "model.layers.1.mlp.up_proj.weight";

describe("openCheckpoint", () => {
  it("opens foldling, whose blocks come by role", () =>
    opened(foldling, async ({ architecture, dtype, block }, events) => {
      expect(events).toEqual([]);
      expect(dtype).toBe("bfloat16");
      expect(architecture).toMatchObject({ hiddenSize: 128, vocabularySize: 914, head: { tied: true } });
      const { tensors, type, layer } = await block(3);
      expect({ type, layer }).toEqual({ type: "full_attention+rope+mlp", layer: 3 });
      expect(Object.fromEntries([...tensors].map(([role, { shape }]) => [role, shape]))).toEqual({
        "norm.attention": [128],
        "attention.query": [128, 128],
        "attention.key": [64, 128],
        "attention.value": [64, 128],
        "attention.output": [128, 128],
        "norm.mlp": [128],
        "mlp.gate": [384, 128],
        "mlp.up": [384, 128],
        "mlp.down": [128, 384],
      });
      await expect(block(16)).rejects.toThrow(code("LAYER_OUT_OF_RANGE"));
    }));

  it("follows links out of the folder, as in the hub's cache, and opens a read-only folder", async () => {
    const cache = join(folder, "cache");
    await mkdir(join(cache, "blobs"), { recursive: true });
    await mkdir(join(cache, "snapshot"));
    for (const name of ["config.json", "model.safetensors"]) {
      await cp(join(model, name), join(cache, "blobs", `blob-${name}`));
      await symlink(`../blobs/blob-${name}`, join(cache, "snapshot", name));
    }
    await chmod(join(cache, "snapshot"), 0o555);
    await opened(join(cache, "snapshot"), ({ tensors }) => {
      expect(tensors.get(up)!.file).toBe(join(cache, "blobs", "blob-model.safetensors"));
    });
    await chmod(join(cache, "snapshot"), 0o755);
  });

  it.each<[string, string, () => Promise<unknown>]>([
    ["a folder that is not there", "CHECKPOINT_MISSING", () => rm(model, { recursive: true })],
    ["a folder without a config", "CHECKPOINT_MISSING", () => rm(join(model, "config.json"))],
    ["a config that is no JSON", "CONFIG_INVALID", () => writeFile(join(model, "config.json"), "{")],
    [
      "a config of lists in lists, deeper than any",
      "CONFIG_INVALID",
      () =>
        writeFile(
          join(model, "config.json"),
          `{ "quantization_config": ${"[".repeat(20_000)}${"]".repeat(20_000)} }`,
        ),
    ],
    [
      "a quantisation whose method is no name",
      "QUANTIZATION_UNSUPPORTED",
      () => editConfig({ quantization_config: { quant_method: { toString: 1, valueOf: 1 } } }),
    ],
    [
      "a quantisation whose targets are no list",
      "CONFIG_INVALID",
      () => editConfig({ quantization_config: { config_groups: { group_0: { targets: "Linear" } } } }),
    ],
    ["an unknown architecture", "ARCHITECTURE_UNKNOWN", () => editConfig({ model_type: "perceptron" })],
    ["a folder without weights", "WEIGHTS_MISSING", () => rm(join(model, "model.safetensors"))],
    [
      "pickled weights",
      "WEIGHTS_PICKLED",
      () => rename(join(model, "model.safetensors"), join(model, "pytorch_model.bin")),
    ],
    [
      "a missing tensor",
      "TENSOR_MISSING",
      () => rewrite((tensors) => tensors.filter(({ name }) => name !== up)),
    ],
    [
      "a layer that is not there",
      "LAYER_MISSING",
      () => rewrite((tensors) => tensors.filter(({ name }) => !name.includes(".1."))),
    ],
    ["a tensor of another shape", "TENSOR_SHAPE", () => editConfig({ intermediate_size: 13 })],
    ["fewer layers than the config says", "LAYER_MISSING", () => editConfig({ num_hidden_layers: 4 })],
    ["an untied config without a head", "TENSOR_MISSING", () => editConfig({ tie_word_embeddings: false })],
  ])("refuses %s", async (_, wanted, spoil) => {
    await spoil();
    await expect(openCheckpoint(model)).rejects.toThrow(code(wanted));
  });

  it("names the tensor whose shape is wrong, and how to convert a pickle", async () => {
    await editConfig({ intermediate_size: 13 });
    await expect(openCheckpoint(model)).rejects.toThrow(
      /layers\.0\.mlp\.gate_proj.*wanted \[13, 8\], got \[12, 8\]/,
    );
    await rename(join(model, "model.safetensors"), join(model, "pytorch_model.bin"));
    await expect(openCheckpoint(model)).rejects.toThrow(/safe_serialization=True/);
  });

  it("bears legacy buffers and a copy of the embedding as head, and reports what else it does not use", async () => {
    await rewrite((tensors) => [
      ...tensors,
      { ...tensors.find(({ name }) => name === "model.embed_tokens.weight")!, name: "lm_head.weight" },
      {
        name: "model.layers.0.self_attn.rotary_emb.inv_freq",
        dtype: "float32",
        shape: [2],
        bytes: () => new Uint8Array(8),
      },
    ]);
    await opened(model, ({ config: read, architecture }, events) => {
      expect(read.tie_word_embeddings).toBe(true);
      expect(architecture.head.weight).toBe("model.embed_tokens.weight");
      expect(events).toEqual([]);
    });
    await rewrite((tensors) => [
      ...tensors,
      { name: "vision.patch", dtype: "int8", shape: [1], bytes: () => new Uint8Array(1) },
    ]);
    await opened(model, (_, events) => {
      expect(events).toEqual([
        expect.objectContaining({ code: "TENSORS_UNUSED", message: expect.stringContaining("vision.patch") }),
      ]);
    });
  });

  it("takes a head of its own for what it is, whatever the config says", async () => {
    await rewrite((tensors) => {
      const embedding = tensors.find(({ name }) => name === "model.embed_tokens.weight")!;
      const other = new Uint8Array(160).fill(60);
      return [...tensors, { ...embedding, name: "lm_head.weight", bytes: () => other }];
    });
    await opened(model, ({ config: read, architecture }) => {
      expect(read.tie_word_embeddings).toBe(false);
      expect(architecture.head).toMatchObject({ tied: false, weight: "lm_head.weight" });
    });
  });

  it("opens a quantised checkpoint, whose linear maps are packed", async () => {
    await editConfig({ quantization_config: { quant_method: "gptq" } });
    await rewrite((tensors) =>
      tensors.flatMap((source): TensorSource[] => {
        if (source.name !== up) return [source];
        const part = (suffix: string, dtype: "int32" | "float32", shape: number[]) => ({
          name: up.replace("weight", suffix),
          dtype,
          shape,
          bytes: () => new Uint8Array(4 * shape[0] * shape[1]),
        });
        return [part("qweight", "int32", [1, 12]), part("scales", "float32", [1, 12])];
      }),
    );
    await opened(model, async ({ read }, events) => {
      expect(events).toEqual([]);
      await expect(read(up)).rejects.toThrow(code("TENSOR_MISSING"));
    });
  });

  it("has a fingerprint that follows config and bytes", async () => {
    const print = () => opened(model, (checkpoint) => checkpoint.fingerprint());
    const first = await print();
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(await print()).toBe(first);
    await rewrite((tensors) =>
      tensors.map((t) => (t.name === up ? { ...t, bytes: () => new Uint8Array(192) } : t)),
    );
    const second = await print();
    expect(second).not.toBe(first);
    await editConfig({ rms_norm_eps: 1e-6 });
    expect(await print()).not.toBe(second);
  });
});

describe("a sharded checkpoint", () => {
  let index: { metadata: object; weight_map: Record<string, string> };
  const indexFile = () => join(model, "model.safetensors.index.json");
  beforeEach(async () => {
    await writeCheckpoint(model, {
      config,
      tensors: randomTensors(config, rng()),
      maxShardBytes: 700,
      force: true,
    });
    index = JSON.parse(await readFile(indexFile(), "utf8"));
  });
  const editIndex = (change: object) => writeFile(indexFile(), JSON.stringify({ ...index, ...change }));

  it("opens with the same bytes as an unsharded one, and its index is complete", async () => {
    const names = [...new Set(Object.values(index.weight_map))];
    expect(names.length).toBeGreaterThan(2);
    expect(names[1]).toBe(`model-00002-of-0000${names.length}.safetensors`);
    await opened(model, async (checkpoint) => {
      expect(Object.keys(index.weight_map).sort()).toEqual([...checkpoint.tensors.keys()].sort());
      const total = [...checkpoint.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
      expect(index.metadata).toEqual({ total_size: total });
      const sources = new Map(randomTensors(config, rng()).map((source) => [source.name, source]));
      for (const name of checkpoint.tensors.keys()) {
        expect(await checkpoint.readBytes(name)).toEqual(await sources.get(name)!.bytes());
      }
    });
  });

  it.each<[string, string, () => Promise<unknown>]>([
    ["an index that is no index", "INDEX_INVALID", () => editIndex({ weight_map: { a: 1 } })],
    [
      "a path out of the folder",
      "INDEX_INVALID",
      () => editIndex({ weight_map: { [up]: "../model/model-00001-of-00003.safetensors" } }),
    ],
    ["an absolute path", "INDEX_INVALID", () => editIndex({ weight_map: { [up]: "/etc/passwd" } })],
    ["a shard that is not there", "SHARD_MISSING", () => rm(join(model, index.weight_map[up]))],
    [
      "a tensor that its shard lacks",
      "TENSOR_MISSING",
      () => editIndex({ weight_map: { ...index.weight_map, "model.extra": index.weight_map[up] } }),
    ],
  ])("refuses %s", async (_, wanted, spoil) => {
    await spoil();
    await expect(openCheckpoint(model)).rejects.toThrow(code(wanted));
  });
});

describe("writeCheckpoint", () => {
  const target = () => join(folder, "out");
  beforeEach(() => rm(target(), { recursive: true, force: true }));
  const leftovers = async () => (await readdir(folder)).filter((name) => name.includes("out"));

  it("drops layers of foldling, carries its files over and leaves the source's float notation", () =>
    opened(foldling, async (source) => {
      const kept = [0, 2, 15];
      const tensors = [...source.tensors.values()].flatMap(({ name, dtype, shape }): TensorSource[] => {
        const layer = layerOf(source.family, name);
        const index = layer === undefined ? 0 : kept.indexOf(layer);
        const bytes = () => source.readBytes(name);
        return index < 0
          ? []
          : [{ name: renamedTensor(source.family, name, index) ?? name, dtype, shape, bytes }];
      });
      const events: unknown[] = [];
      const written = await writeCheckpoint(
        target(),
        {
          config: keepLayers(source.family, source.config, kept),
          tensors,
          carryFrom: source,
          extraFiles: { "README.md": "folded" },
        },
        { report: (event) => events.push(event) },
      );
      expect(written.files).toEqual([
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
      ]);
      // Embedding 914·128, final norm 128; a layer: 2·128² + 2·64·128 + 3·384·128 + 2·128.
      expect(written.parameterCount).toBe(
        914 * 128 + 128 + 3 * (2 * 128 ** 2 + 2 * 64 * 128 + 3 * 384 * 128 + 256),
      );
      expect(written.tensorBytes).toBe(2 * written.parameterCount);
      expect(events.at(-1)).toMatchObject({
        type: "progress",
        done: written.tensorBytes,
        total: written.tensorBytes,
      });
      expect(await readFile(join(target(), "config.json"), "utf8")).toContain('"rope_theta": 10000.0');
      await opened(target(), async (folded) => {
        expect(folded.architecture.blocks).toHaveLength(3);
        const name = (layer: number) => `model.layers.${layer}.mlp.down_proj.weight`;
        expect(await folded.readBytes(name(2))).toEqual(await source.readBytes(name(15)));
      });
    }));

  it("refuses tensors that the config does not ask for, or that are missing, before it writes", async () => {
    const tensors = randomTensors(config, rng());
    const extra = { ...tensors[0], name: "model.layers.3.input_layernorm.weight" };
    await expect(writeCheckpoint(target(), { config, tensors: tensors.slice(1) })).rejects.toThrow(
      code("TENSOR_MISSING"),
    );
    await expect(writeCheckpoint(target(), { config, tensors: [...tensors, extra] })).rejects.toThrow(
      code("TENSOR_UNEXPECTED"),
    );
    await expect(
      writeCheckpoint(target(), { config: { ...config, vocab_size: 11 }, tensors }),
    ).rejects.toThrow(code("TENSOR_SHAPE"));
    expect(await leftovers()).toEqual([]);
  });

  it("refuses a folder that is not empty, and with force one that holds something else", async () => {
    const content = { config, tensors: randomTensors(config, rng()) };
    await expect(writeCheckpoint(model, content)).rejects.toThrow(code("OUTPUT_EXISTS"));
    await mkdir(target());
    await writeCheckpoint(target(), content);
    await writeCheckpoint(target(), { ...content, force: true });
    await writeFile(join(target(), "letter.txt"), "");
    await expect(writeCheckpoint(target(), { ...content, force: true })).rejects.toThrow(
      code("OUTPUT_EXISTS"),
    );
    const files = [".layerfold.json", "config.json", "letter.txt", "model.safetensors"];
    expect((await readdir(target())).sort()).toEqual(files);
  });

  it("leaves nothing when it is interrupted or a tensor fails, and what was there before stays", async () => {
    const tensors = randomTensors(config, rng());
    const controller = new AbortController();
    const report = () => controller.abort();
    await expect(
      writeCheckpoint(target(), { config, tensors }, { signal: controller.signal, report }),
    ).rejects.toThrow(code("INTERRUPTED"));
    const failing = { ...tensors[5], bytes: () => Promise.reject(new Error("disk on fire")) };
    const spoiled = tensors.map((source, i) => (i === 5 ? failing : source));
    await expect(writeCheckpoint(target(), { config, tensors: spoiled })).rejects.toThrow(/disk on fire/);
    expect(await leftovers()).toEqual([]);
    await expect(writeCheckpoint(model, { config, tensors: spoiled, force: true })).rejects.toThrow(
      /disk on fire/,
    );
    expect(await opened(model, ({ tensors: left }) => left.size)).toBe(tensors.length);
  });
});
