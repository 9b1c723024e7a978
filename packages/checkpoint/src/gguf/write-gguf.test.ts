import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mountedDisk } from "@layerfold/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Checkpoint } from "../checkpoint.js";
import { architectureOf } from "../families.js";
import { openCheckpoint } from "../open-checkpoint.js";
import { openTokenizer } from "../tokenizer.js";
import { ggufArchitectureFor } from "./architectures.js";
import { importGguf } from "./import-gguf.js";
import { readGguf } from "./read-gguf.js";
import { type WriteGgufOptions, writeGguf } from "./write-gguf.js";

const golden = fileURLToPath(new URL("../../test/golden/", import.meta.url));
const code = (wanted: string) => expect.objectContaining({ code: wanted });
type Json = Record<string, any>;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-gguf-"));
});
afterAll(() => rm(folder, { recursive: true }));

let made = 0;

/** A golden model with its config and its tokenizer changed. */
async function changed(
  name: string,
  config: (given: Json) => Json,
  tokenizer = (given: Json): Json => given,
) {
  const source = join(folder, name);
  await importGguf(join(golden, "gguf", `${name}.gguf`), source, { force: true }).catch((error) => {
    if (error.code !== "OUTPUT_EXISTS") throw error;
  });
  const target = join(folder, `${name}-${made++}`);
  await cp(source, target, { recursive: true });
  for (const [file, change] of [
    ["config.json", config],
    ["tokenizer.json", tokenizer],
  ] as const) {
    const text = await readFile(join(target, file), "utf8");
    await writeFile(join(target, file), JSON.stringify(change(JSON.parse(text))));
  }
  return target;
}

/** What such a model's file says, with the diagnostics that were told on the way. */
async function exported(directory: string, options: WriteGgufOptions = {}, view = (c: Checkpoint) => c) {
  const checkpoint = await openCheckpoint(directory);
  const told: string[] = [];
  try {
    const report = (event: { type: string; code?: string }) => {
      if (event.type === "diagnostic") told.push(event.code!);
    };
    const written = await writeGguf(view(checkpoint), `${directory}.gguf`, options, { report });
    const gguf = await readGguf(`${directory}.gguf`);
    await gguf.close();
    return { ...gguf, written, told };
  } finally {
    await checkpoint.close();
  }
}

const same = (given: Json) => given;
const withConfig = (change: Json) => (given: Json) => ({ ...given, ...change });

describe("what a fold leaves", () => {
  it("keeps which of Gemma's layers slide", async () => {
    const types = ["full_attention", "sliding_attention", "sliding_attention"];
    const { metadata } = await exported(await changed("gemma2", withConfig({ layer_types: types })));
    expect(metadata["gemma2.attention.sliding_window_pattern"]).toEqual([false, true, true]);
    expect(metadata["gemma2.attention.head_count"]).toBe(4);
  });

  it("keeps which of Jamba's layers have keys", async () => {
    const { metadata } = await exported(await changed("jamba", same));
    expect(metadata["jamba.attention.head_count_kv"]).toEqual([0, 0, 2, 0, 0]);
  });

  it("refuses what llama.cpp would run otherwise, and names it", async () => {
    const refused = async (name: string, change: Json, what: RegExp) => {
      const exporting = exported(await changed(name, withConfig(change)));
      await expect(exporting).rejects.toThrow(code("GGUF_CANNOT_EXPRESS"));
      await expect(exporting).rejects.toThrow(what);
    };
    // SmolLM3's every fourth layer has no positions, in llama.cpp always.
    await refused("smollm3", { no_rope_layers: [1, 1, 0, 1, 1] }, /block 2, mixer, rotary/);
    await refused("llama", { hidden_act: "gelu" }, /block 0, feedForward, activation/);
    const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 };
    await refused("qwen2", { rope_scaling: { ...yarn, beta_slow: 0.1 } }, /block 0, mixer, rotary/);
    // The writer must look: the reader knows no such file.
    expect(
      (await readdir(folder)).filter((name) => name.startsWith("smollm3") && name.endsWith(".gguf")),
    ).toEqual([]);
  });

  it("multiplies queries where llama.cpp takes another attention scale for granted", async () => {
    const queries = async (name: string, change: Json, tensor: string) => {
      const { told } = await exported(await changed(name, withConfig(change)));
      const file = await readGguf(join(folder, `${name}-${made - 1}.gguf`));
      const original = await readGguf(join(golden, "gguf", `${name}.gguf`));
      const [got, wanted] = [await file.read(tensor), await original.read(tensor)];
      await file.close();
      await original.close();
      return { told, ratios: Array.from(got, (value, i) => value / wanted[i]) };
    };
    // 9^-0.5 in place of 16^-0.5, and a half of each number's precision.
    const gemma2 = await queries("gemma2", { query_pre_attn_scalar: 9 }, "blk.1.attn_q.weight");
    expect(gemma2.told).toEqual(["GGUF_SCALE_IN_QUERIES"]);
    for (const ratio of gemma2.ratios) expect(ratio).toBeCloseTo(4 / 3, 2);
    // Behind a norm the norm's gain is what counts.
    const gemma3 = await queries("gemma3", { query_pre_attn_scalar: 64 }, "blk.1.attn_q_norm.weight");
    for (const ratio of gemma3.ratios) expect(ratio).toBeCloseTo(0.5, 6);
    // Of GPT-2's queries, keys and values the first.
    const gpt2 = await queries("gpt2", { scale_attn_by_inverse_layer_idx: true }, "blk.2.attn_qkv.weight");
    for (const [i, ratio] of gpt2.ratios.entries()) expect(ratio).toBeCloseTo(i < 32 * 32 ? 1 / 3 : 1, 2);
  });

  it("says YaRN's own attention factor as llama.cpp reads it", async () => {
    const yarn = {
      rope_type: "yarn",
      factor: 4,
      original_max_position_embeddings: 16,
      attention_factor: 1.5,
    };
    const directory = await changed("qwen2", withConfig({ rope_scaling: yarn }));
    const { metadata } = await exported(directory);
    // llama.cpp multiplies it by 0.1 ln 4 + 1.
    expect(metadata["qwen2.rope.scaling.attn_factor"]).toBeCloseTo(1.5 / (0.1 * Math.log(4) + 1), 6);
    await importGguf(`${directory}.gguf`, `${directory}-again`);
    const again = JSON.parse(await readFile(join(`${directory}-again`, "config.json"), "utf8"));
    expect(again.rope_scaling.attention_factor).toBeCloseTo(1.5, 6);
  });

  it("refuses rotary scalings that llama.cpp does not have, or not there", async () => {
    const scaled = (name: string, rope_scaling: Json) =>
      changed(name, withConfig({ rope_scaling })).then((directory) => exported(directory));
    await expect(scaled("llama", { rope_type: "dynamic", factor: 2 })).rejects.toThrow(code("GGUF_ROPE"));
    const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    await expect(scaled("qwen2", { ...llama3, original_max_position_embeddings: 32 })).rejects.toThrow(
      code("GGUF_ROPE"),
    );
  });

  it("promises no longer text than a window where llama.cpp has none, and says so", async () => {
    const mistral = await changed("mistral", withConfig({ model_type: "mistral", sliding_window: 5 }));
    const { metadata, told } = await exported(mistral);
    expect(metadata["llama.context_length"]).toBe(5);
    expect(told).toEqual(["GGUF_CONTEXT_SHORTENED"]);
    const { metadata: phi3, told: ignored } = await exported(await changed("phi3-long", same));
    expect(phi3["phi3.context_length"]).toBe(64);
    expect(ignored).toContain("GGUF_WINDOW_IGNORED");
  });
});

describe("tokenizers", () => {
  const refusal = async (name: string, change: (given: Json) => Json, what: RegExp) => {
    const exporting = exported(await changed(name, same, change));
    await expect(exporting).rejects.toThrow(code("GGUF_TOKENIZER"));
    await expect(exporting).rejects.toThrow(what);
  };
  const added =
    (id: number, more: Json = {}) =>
    (given: Json) => ({
      ...given,
      added_tokens: [...given.added_tokens, { ...given.added_tokens[0], id, content: "<extra>", ...more }],
    });

  it("refuses a kind that a GGUF file cannot say", async () => {
    const word = { type: "WordLevel", unk_token: "a", vocab: { a: 0 } };
    await refusal("qwen2", (given) => ({ ...given, model: word }), /wanted byte-level BPE.*got WordLevel/);
  });

  it("refuses a vocabulary that is longer than the embedding", async () => {
    await refusal("qwen2", added(320), /longer than the embedding.*ids below 320.*320 for "<extra>"/);
  });

  it("refuses cuts and merges that llama.cpp does not make", async () => {
    const cut = { type: "Split", pattern: { Regex: "[aeiou]" }, behavior: "Isolated", invert: false };
    await refusal(
      "qwen2",
      (given) => ({
        ...given,
        pre_tokenizer: { type: "Sequence", pretokenizers: [cut, given.pre_tokenizer] },
      }),
      /no pre-tokenizer that cuts text/,
    );
    await refusal("qwen2", (given) => ({ ...given, normalizer: { type: "Lowercase" } }), /no pre-tokenizer/);
    const mergesTurned = (given: Json) => ({
      ...given,
      model: { ...given.model, merges: given.model.merges.slice(40) },
    });
    // Scores cannot say that two pieces are never merged.
    await refusal("llama", mergesTurned, /would give other ids/);
  });

  it("names tokens that are missing, and the tokens that end a text", async () => {
    const directory = await changed("qwen2", same, (given) => {
      const { vocab, merges, ...model } = given.model;
      const last = Object.keys(vocab).find((token) => vocab[token] === 319)!;
      const others = Object.fromEntries(Object.entries(vocab).filter(([token]) => token !== last));
      const kept = merges.filter((pair: string[]) => pair.join("") !== last && !pair.includes(last));
      return { ...given, model: { ...model, vocab: others, merges: kept } };
    });
    await writeFile(join(directory, "generation_config.json"), JSON.stringify({ eos_token_id: [1, 5] }));
    const { metadata } = await exported(directory);
    expect((metadata["tokenizer.ggml.tokens"] as string[])[319]).toBe("[PAD319]");
    expect((metadata["tokenizer.ggml.token_type"] as number[])[319]).toBe(5);
    expect(metadata["tokenizer.ggml.eos_token_id"]).toBe(1);
    expect(metadata["tokenizer.ggml.eot_token_id"]).toBe(5);
  });

  it("tells a tokenizer that is not published by how it cuts", async () => {
    const { metadata } = await exported(await changed("granite", same));
    expect(metadata["tokenizer.ggml.pre"]).toBe("smollm");
  });

  it("is Phi-3 by name where its tokens strip spaces and llama.cpp can load it, and by no accident", async () => {
    const { metadata, told } = await exported(await changed("phi3", same), { name: "my phi3" });
    // Without Phi-3's <|endoftext|> llama.cpp does not load a model of that name.
    expect(metadata["general.name"]).toBe("my phi 3");
    expect(told).toContain("GGUF_TOKEN_SPACES");
    const whole = await changed("phi3", same, (given) => ({
      ...given,
      added_tokens: given.added_tokens.map((token: Json) =>
        token.content === "<|end|>" ? { ...token, content: "<|endoftext|>" } : token,
      ),
      model: JSON.parse(JSON.stringify(given.model).replaceAll("<|end|>", "<|endoftext|>")),
    }));
    expect((await exported(whole, { name: "folded" })).metadata["general.name"]).toBe("Phi-3 folded");
  });
});

describe("the file", () => {
  it("is quantised as asked, in blocks that its rows fill", async () => {
    const directory = await changed("qwen2", same);
    const { written } = await exported(directory, { type: "q4_k_m" });
    // Rows of 32 and 48 columns: blocks of 32, and where they do not fit float16.
    expect(written.types).toEqual({ F32: 16, Q5_0: 17, Q8_0: 2, F16: 3 });
    await importGguf(`${directory}.gguf`, `${directory}-again`);
    const tokenizer = await openTokenizer(`${directory}-again`);
    expect(tokenizer.encode("a 12")).toEqual((await openTokenizer(directory)).encode("a 12"));
  });

  it("weighs errors by the importance of inputs, which must fit", async () => {
    const directory = await changed("qwen2", same);
    const weight = "model.layers.0.self_attn.o_proj.weight";
    const errorOf = async (importance?: ReadonlyMap<string, Float64Array>) => {
      await exported(directory, { type: "q4_0", importance });
      const [file, original] = [await readGguf(`${directory}.gguf`), await openCheckpoint(directory)];
      const [got, { data: wanted }] = [
        await file.read("blk.0.attn_output.weight"),
        await original.read(weight),
      ];
      await file.close();
      await original.close();
      // The first column of every row.
      return got.reduce((sum, value, i) => (i % 32 === 0 ? sum + (value - wanted[i]) ** 2 : sum), 0);
    };
    const first = Float64Array.from({ length: 32 }, (_, column) => (column === 0 ? 1e4 : 1e-4));
    expect(await errorOf(new Map([[weight, first]]))).toBeLessThan(0.1 * (await errorOf()));
    await expect(errorOf(new Map([[weight, new Float64Array(31)]]))).rejects.toThrow(
      code("IMPORTANCE_SHAPE"),
    );
  });

  it("is whole or not there", async () => {
    const directory = await changed("qwen2", same);
    const exporting = exported(directory, {}, (checkpoint) => ({
      ...checkpoint,
      async read(name) {
        const tensor = await checkpoint.read(name);
        if (name === "model.layers.2.mlp.down_proj.weight") tensor.data[3] = 70_000;
        return tensor;
      },
    }));
    await expect(exporting).rejects.toMatchObject({
      code: "FLOAT_OVERFLOW",
      where: "model.layers.2.mlp.down_proj.weight",
    });
    const name = directory.slice(folder.length + 1);
    expect((await readdir(folder)).filter((entry) => entry.includes(name))).toEqual([name]);
  });

  it("is refused where there is no room, before anything is written", async (context) => {
    const disk = mountedDisk("size=32k");
    if (!disk) return context.skip();
    const checkpoint = await openCheckpoint(await changed("qwen2", same));
    try {
      const target = join(disk.folder, "model.gguf");
      await expect(writeGguf(checkpoint, target)).rejects.toThrow(code("DISK_FULL"));
      expect(await readdir(disk.folder)).toEqual([]);
    } finally {
      await checkpoint.close();
      disk.unmount();
    }
  });
});

it("refuses a family that llama.cpp does not have, by name, and a quantised checkpoint", async () => {
  const opt = JSON.parse(await readFile(join(golden, "configs", "opt.json"), "utf8"));
  expect(() => ggufArchitectureFor(architectureOf(opt), "x")).toThrow(code("GGUF_ARCHITECTURE"));
  expect(() => ggufArchitectureFor(architectureOf(opt), "x")).toThrow(/wanted falcon, .*mistral.*got opt/);
  const quantized = exported(await changed("qwen2", same), {}, (checkpoint) => ({
    ...checkpoint,
    config: { ...checkpoint.config, quantization_config: { quant_method: "gptq" } },
  }));
  await expect(quantized).rejects.toThrow(code("CHECKPOINT_QUANTIZED"));
});
