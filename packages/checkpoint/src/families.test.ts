import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { wantedTensors } from "./check-tensors.js";
import { architectureOf, familyOf, knownModelTypes } from "./families.js";
import type { ModelConfig } from "./family.js";
import { layerOf, renamedTensor } from "./layer-name.js";
import { rotaryOf } from "./rope.js";

const golden = new URL("../test/golden/", import.meta.url);
const read = (name: string) => JSON.parse(readFileSync(new URL(name, golden), "utf8"));
const configs: [string, ModelConfig][] = readdirSync(new URL("configs/", golden)).map((file) => [
  file.replace(".json", ""),
  read(`configs/${file}`),
]);
const code = (wanted: string) => expect.objectContaining({ code: wanted });
const without = (config: ModelConfig, ...fields: string[]) =>
  Object.fromEntries(Object.entries(config).filter(([field]) => !fields.includes(field)));
const config = (name: string) => configs.find(([found]) => found === name)![1];

describe("architectureOf", () => {
  const variants: { variant: string; config: ModelConfig; tensors: Record<string, number[]> }[] =
    read("tensors.json");

  it("has a variant of every known model type", () => {
    expect([...new Set(variants.map((row) => row.config.model_type))].sort()).toEqual(knownModelTypes());
  });

  it.each(variants.map((row) => [row.variant, row] as const))(
    "asks for the tensors that transformers saves: %s",
    (_, row) => {
      expect(Object.fromEntries(wantedTensors(architectureOf(row.config)))).toEqual(row.tensors);
    },
  );

  it.each(configs)(
    "gives every tensor of %s one role, its layer and its name in another layer",
    (_, each) => {
      const family = familyOf(each);
      const { blocks, globals } = architectureOf(each);
      blocks.forEach((block, layer) => {
        expect([...block.shapes.keys()]).toEqual([...block.tensors.keys()]);
        for (const [role, name] of block.tensors) {
          expect(layerOf(family, name)).toBe(layer);
          const other = blocks[0].tensors.get(role);
          if (other) expect(renamedTensor(family, name, 0)).toBe(other);
        }
      });
      for (const name of globals.keys()) expect(layerOf(family, name)).toBeUndefined();
    },
  );

  it("sees a checkpoint whose names lack the base prefix", () => {
    const { blocks, embedding, head } = architectureOf(config("gpt2"), ["wte.weight", "h.0.ln_1.weight"]);
    expect(embedding.tokens).toBe("wte.weight");
    expect(head.weight).toBe("wte.weight");
    expect(blocks[2].tensors.get("attention.qkv")).toBe("h.2.attn.c_attn.weight");
    expect(layerOf(familyOf(config("gpt2")), "h.2.attn.c_attn.weight")).toBe(2);
    expect(renamedTensor(familyOf(config("gpt2")), "h.2.attn.c_attn.weight", 11)).toBe(
      "h.11.attn.c_attn.weight",
    );
  });

  it("names the known model types, and the nearest", () => {
    expect(() => familyOf({ model_type: "lama" })).toThrow(code("ARCHITECTURE_UNKNOWN"));
    expect(() => familyOf({ model_type: "lama" })).toThrow(/Did you mean "llama"\?.*falcon, gemma2/);
    expect(() => familyOf({})).toThrow(code("CONFIG_INVALID"));
  });

  it.each<[string, string, ModelConfig, string]>([
    ["llama", "a missing width", { hidden_size: undefined }, "CONFIG_INVALID"],
    ["llama", "a width that is no number", { hidden_size: "64" }, "CONFIG_INVALID"],
    ["llama", "heads that do not divide", { num_key_value_heads: 3 }, "CONFIG_INVALID"],
    ["llama", "an unknown activation", { hidden_act: "swishy" }, "CONFIG_INVALID"],
    ["llama", "an unknown rotary type", { rope_parameters: { rope_type: "spiral" } }, "ROPE_UNKNOWN"],
    [
      "llama",
      "a rotary type that is not even a word",
      { rope_parameters: { rope_type: { toString: 1, valueOf: 1 } } },
      "ROPE_UNKNOWN",
    ],
    [
      "llama",
      "a rotary type without its factor",
      { rope_parameters: { rope_type: "linear" } },
      "CONFIG_INVALID",
    ],
    ["qwen3", "layer types of another length", { layer_types: ["full_attention"] }, "CONFIG_INVALID"],
    ["falcon", "ALiBi", { alibi: true }, "CONFIG_UNSUPPORTED"],
    ["stablelm", "a norm for each head", { qk_layernorm: true }, "CONFIG_UNSUPPORTED"],
    ["gpt2", "cross attention", { add_cross_attention: true }, "CONFIG_UNSUPPORTED"],
  ])("refuses %s with %s", (name, _, change, wanted) => {
    expect(() => architectureOf({ ...config(name), ...change })).toThrow(code(wanted));
  });
});

describe("what follows from the config", () => {
  const attention = (name: string, change: ModelConfig = {}) =>
    architectureOf({ ...config(name), ...change }).blocks.map(({ mixer }) => {
      if (mixer.kind !== "attention") throw new Error("attention expected");
      return mixer;
    });
  const windows = (name: string, change: ModelConfig = {}) =>
    attention(name, change).map(({ slidingWindow }) => slidingWindow);

  it("tells a window of null from none given", () => {
    expect(windows("mistral")).toEqual(Array(5).fill(7));
    expect(windows("mistral", { sliding_window: null })).toEqual(Array(5).fill(undefined));
    expect(windows("mistral", { sliding_window: undefined })).toEqual(Array(5).fill(4096));
  });

  it("derives layer types from the index where the config has none", () => {
    expect(windows("qwen2", { layer_types: undefined })).toEqual([undefined, undefined, 6, 6, 6]);
    expect(windows("qwen2", { layer_types: undefined, use_sliding_window: false })).toEqual(
      Array(5).fill(undefined),
    );
    expect(windows("gemma2", { layer_types: undefined })).toEqual([6, undefined, 6, undefined, 6]);
    expect(windows("gemma3_text", { layer_types: undefined, sliding_window_pattern: 3 })).toEqual([
      6,
      6,
      undefined,
      6,
      6,
    ]);
    expect(
      attention("smollm3", { no_rope_layers: undefined }).map(({ rotary }) => rotary !== undefined),
    ).toEqual([true, false, true, false, true]);
  });

  it("gives each layer type of gemma3 its own base, in the old and the new spelling", () => {
    const types = { layer_types: undefined, _sliding_window_pattern: 2 };
    const second = (change: ModelConfig) =>
      attention("gemma3_text", { ...types, ...change }).map(({ rotary }) => rotary!.inverseFrequencies[1]);
    const [local, global] = second({});
    // θ^(−2/16) in float32.
    expect(local).toBeCloseTo(10_000 ** (-2 / 16), 7);
    expect(global).toBeCloseTo(1_000_000 ** (-2 / 16), 7);
    const legacy = { rope_parameters: undefined, rope_theta: 1e6, rope_local_base_freq: 1e4 };
    expect(second(legacy)).toEqual(second({}));
    const scaled = second({ ...legacy, rope_scaling: { rope_type: "linear", factor: 8 } });
    expect(scaled.slice(0, 2)).toEqual([local, Math.fround(global / 8)]);
  });

  it("tells a soft-cap of null from none given", () => {
    const { attn_logit_softcapping: _, ...open } = config("gemma2");
    expect(attention("gemma2", { attn_logit_softcapping: null })[0].softcap).toBeUndefined();
    expect(architectureOf({ ...open, final_logit_softcapping: null }).head.softcap).toBeUndefined();
    expect(attention("gemma2", { attn_logit_softcapping: undefined })[0].softcap).toBe(50);
  });

  it("scales GPT-2's attention by the layer where told to", () => {
    expect(attention("gpt2").map(({ scale }) => scale)).toEqual(Array(5).fill(0.25));
    expect(attention("gpt2", { scale_attn_by_inverse_layer_idx: true }).map(({ scale }) => scale)).toEqual(
      [1, 2, 3, 4, 5].map((n) => 0.25 / n),
    );
  });

  it("gives blocks that may not stand for one another different types", () => {
    const types = (name: string) => architectureOf(config(name)).blocks.map(({ type }) => type);
    expect(types("jamba").slice(0, 3)).toEqual(["mamba+mlp", "mamba+moe", "full_attention+nope+mlp"]);
    expect(types("qwen3_moe")[2]).not.toBe(types("qwen3_moe")[1]);
    expect(types("smollm3")[0]).not.toBe(types("smollm3")[1]);
    expect(types("gemma2")[0]).not.toBe(types("gemma2")[1]);
  });

  it("has a tied head where the config does not say, as transformers does", () => {
    const tied = configs
      .filter(([, each]) => architectureOf(without(each, "tie_word_embeddings")).head.tied)
      .map(([name]) => name);
    expect(tied).toEqual(["falcon", "gemma2", "gemma3_text", "gpt2", "opt", "smollm3"]);
  });
});

describe("rotaryOf", () => {
  const rows: {
    config: ModelConfig;
    attention_factor: number;
    inverse_frequencies: Record<string, number[]>;
  }[] = read("rope.json").rows;

  it.each(
    rows.map((row) => [JSON.stringify(row.config.rope_parameters ?? row.config.rope_scaling), row] as const),
  )("gives transformers' frequencies for %s", (_, row) => {
    const rotary = rotaryOf(row.config, { headSize: 32 });
    expect(rotary.attentionFactor).toBeCloseTo(row.attention_factor, 12);
    for (const [length, wanted] of Object.entries(row.inverse_frequencies)) {
      const got = rotary.inverseFrequenciesFor?.(Number(length)) ?? rotary.inverseFrequencies;
      expect(got).toHaveLength(wanted.length);
      // Two units in the last place of a float32, counted at the frequency before it was scaled (llama3 blends there): powers
      // differ that much between C libraries.
      const theta = Number(row.config.rope_theta ?? (row.config.rope_parameters as ModelConfig).rope_theta);
      wanted.forEach((frequency, i) => {
        const unscaled = theta ** (-i / wanted.length);
        expect(Math.abs(got[i] - frequency) / unscaled).toBeLessThan(2.4e-7);
      });
    }
    expect(rotary.rotaryDimension).toBe(2 * rotary.inverseFrequencies.length);
  });
});
