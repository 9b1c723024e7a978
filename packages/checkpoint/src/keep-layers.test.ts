import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { architectureOf, familyOf } from "./families.js";
import type { ModelConfig } from "./family.js";
import { keepLayers } from "./keep-layers.js";
import { serializeConfig } from "./serialize-config.js";

const golden = (name: string): ModelConfig =>
  JSON.parse(readFileSync(new URL(`../test/golden/configs/${name}.json`, import.meta.url), "utf8"));
const keep = (config: ModelConfig, kept: number[]) => keepLayers(familyOf(config), config, kept);
const llama = (change: ModelConfig): ModelConfig => ({ ...golden("llama"), ...change });
const code = (wanted: string) => expect.objectContaining({ code: wanted });
const withoutLists = ({ layer_types: _, no_rope_layers: __, ...config }: ModelConfig): ModelConfig => config;

describe("keepLayers", () => {
  // Every block of the new config must read as the same layer of the old one did: the law behind all of the fields.
  it.each([
    ["llama", golden("llama")],
    ["mixtral", golden("mixtral")],
    ["qwen2", golden("qwen2")],
    ["qwen2 without layer_types", withoutLists(golden("qwen2"))],
    ["qwen3", golden("qwen3")],
    ["qwen3_moe", golden("qwen3_moe")],
    ["qwen3_moe with a step", { ...golden("qwen3_moe"), decoder_sparse_step: 2, mlp_only_layers: [1] }],
    ["gemma2", golden("gemma2")],
    ["gemma2 without layer_types", withoutLists(golden("gemma2"))],
    ["gemma3 without layer_types", { ...withoutLists(golden("gemma3_text")), _sliding_window_pattern: 2 }],
    ["gemma3 as it was first saved", { ...withoutLists(golden("gemma3_text")), sliding_window_pattern: 3 }],
    ["smollm3", golden("smollm3")],
    [
      "smollm3 by its interval",
      { ...withoutLists(golden("smollm3")), use_sliding_window: true, sliding_window: 6 },
    ],
    ["gpt2", golden("gpt2")],
    ["opt", golden("opt")],
  ])("leaves every kept layer of %s what it was", (_, config) => {
    const { blocks } = architectureOf(config);
    const subsets = fc.subarray(
      blocks.map((_, layer) => layer),
      { minLength: 1 },
    );
    fc.assert(
      fc.property(subsets, (kept) => {
        const after = architectureOf(keep(config, kept)).blocks;
        const facts = ({ type, mixer, feedForward }: (typeof blocks)[number]) => ({
          type,
          mixer,
          feedForward,
        });
        expect(after.map(facts)).toEqual(kept.map((layer) => facts(blocks[layer])));
      }),
    );
  });

  it("writes what FORMATS say for every per-layer field", () => {
    const config = llama({
      layer_types: ["a", "b", "c", "d", "e"],
      mlp_layer_types: ["a", "b", "c", "d", "e"],
      no_rope_layers: [1, 0, 1, 0, 1],
      layers_block_type: ["a", "b", "c", "d", "e"],
      intermediate_size: [1, 2, 3, 4, 5],
      activation_sparsity_pattern: [0.5, 0, 0.5, 0, 0.25],
      block_configs: [{ a: 1 }, {}, {}, { d: 1 }, {}],
      num_query_heads: [1, 2, 3, 4, 5],
      num_kv_heads: [1, 2, 3, 4, 5],
      ffn_multipliers: [1, 2, 3, 4, 5],
      moe_layers: [0, 1, 3],
      mlp_only_layers: [2],
      attn_layer_indices: [1, 4],
      cross_attention_layers: [3],
      per_layer_config: { 1: { b: 1 }, 3: { d: 1 } },
      hybrid_override_pattern: "M*-ME",
      attention_types: [
        [["global", "local"], 2],
        [["global"], 1],
      ],
      max_window_layers: 28,
      first_k_dense_replace: 2,
      num_nextn_predict_layers: 1,
    });
    expect(keep(config, [0, 3, 4])).toMatchObject({
      num_hidden_layers: 3,
      layer_types: ["a", "d", "e"],
      mlp_layer_types: ["a", "d", "e"],
      no_rope_layers: [1, 0, 1],
      layers_block_type: ["a", "d", "e"],
      intermediate_size: [1, 4, 5],
      activation_sparsity_pattern: [0.5, 0, 0.25],
      block_configs: [{ a: 1 }, { d: 1 }, {}],
      num_query_heads: [1, 4, 5],
      num_kv_heads: [1, 4, 5],
      ffn_multipliers: [1, 4, 5],
      moe_layers: [0, 1],
      mlp_only_layers: [],
      attn_layer_indices: [2],
      cross_attention_layers: [1],
      per_layer_config: { 1: { d: 1 } },
      hybrid_override_pattern: "MME",
      attention_types: [[["global", "local", "global"], 1]],
      max_window_layers: 26,
      first_k_dense_replace: 1,
      num_nextn_predict_layers: 0,
    });
  });

  it("leaves every kept layer on its side of a threshold", () => {
    // "The first n layers are different" must say of a layer under its new index what it said under its old one, n beyond the end too.
    for (const field of ["max_window_layers", "first_k_dense_replace"]) {
      fc.assert(
        fc.property(
          fc.subarray([0, 1, 2, 3, 4], { minLength: 1 }),
          fc.integer({ min: 0, max: 7 }),
          (kept, threshold) => {
            const after = keep(llama({ [field]: threshold }), kept)[field] as number;
            expect(kept.map((_, index) => index < after)).toEqual(kept.map((layer) => layer < threshold));
          },
        ),
      );
    }
    // The threshold's own layer is behind it: of layers 0 and 1 one is left.
    expect(keep(llama({ first_k_dense_replace: 2 }), [0, 2, 4]).first_k_dense_replace).toBe(1);
  });

  it("keeps a shared key/value producer, or refuses", () => {
    // The last two of five reuse the keys of the last earlier layer of their type: 3 (full) of 1, 4 (sliding) of 2.
    const layer_types = [
      "sliding_attention",
      "full_attention",
      "sliding_attention",
      "full_attention",
      "sliding_attention",
    ];
    const config = llama({ layer_types, num_kv_shared_layers: 2 });
    expect(keep(config, [1, 2, 3]).num_kv_shared_layers).toBe(1);
    expect(keep(config, [0, 1, 2]).num_kv_shared_layers).toBe(0);
    expect(() => keep(config, [0, 2, 3])).toThrow(code("CONFIG_CANNOT_EXPRESS"));
    expect(() => keep(config, [0, 2, 3])).toThrow(/layer 3 reuses the keys of layer 1/);
  });

  it("renames the modules of a quantisation", () => {
    const quantization_config = {
      ignore: [
        "lm_head",
        "model.layers.0.mlp.down_proj",
        "model.layers.2.mlp",
        "re:.*layers\\.3\\.mlp.*",
        "re:.*v_proj",
        "re:.*experts\\.3\\..*",
      ],
      modules_to_not_convert: ["model.layers.3", "model.layers.1.mlp"],
      ignored_layers: ["lm_head", "model.layers.4.mlp.up_proj"],
      config_groups: {
        group_0: { targets: ["Linear", "model.layers.3.mlp.up_proj"], weights: { num_bits: 4 } },
      },
      dynamic: {
        "-:model\\.layers\\.1\\..*": {},
        "+:.*\\.3\\..*(?:gate)": { bits: 8 },
        "+:.*\\.layers\\.3\\.mlp.*": { bits: 8 },
      },
    };
    const renamed = keep(llama({ quantization_config }), [0, 3, 4]).quantization_config;
    expect(renamed).toEqual({
      ignore: [
        "lm_head",
        "model.layers.0.mlp.down_proj",
        "re:.*layers\\.1\\.mlp.*",
        "re:.*v_proj",
        "re:.*experts\\.3\\..*",
      ],
      modules_to_not_convert: ["model.layers.1"],
      ignored_layers: ["lm_head", "model.layers.2.mlp.up_proj"],
      config_groups: {
        group_0: { targets: ["Linear", "model.layers.1.mlp.up_proj"], weights: { num_bits: 4 } },
      },
      dynamic: { "+:.*\\.1\\..*(?:gate)": { bits: 8 }, "+:.*\\.layers\\.1\\.mlp.*": { bits: 8 } },
    });
    const several = llama({ quantization_config: { ignore: ["re:.*layers\\.(1|3)\\.mlp.*"] } });
    expect(() => keep(several, [0, 3, 4])).toThrow(code("CONFIG_CANNOT_EXPRESS"));
    const all = { ignore: ["re:model\\.layers\\.\\d+\\.mlp.*"] };
    expect(keep(llama({ quantization_config: all }), [0, 3, 4]).quantization_config).toEqual(all);
  });

  it("refuses an unknown list of the layers' length, and warns of others that may speak of layers", () => {
    expect(() => keep(llama({ layer_magic: [1, 2, 3, 4, 5] }), [0])).toThrow(
      /layer_magic may be a list of the layers/,
    );
    const seen: unknown[] = [];
    const config = llama({ layer_groups: [1, 2], eos_token_id: [1, 2, 3, 4, 5] });
    expect(keepLayers(familyOf(config), config, [0], (event) => seen.push(event)).layer_groups).toEqual([
      1, 2,
    ]);
    expect(seen).toEqual([
      expect.objectContaining({
        code: "CONFIG_FIELD_UNKNOWN",
        message: expect.stringContaining("layer_groups"),
      }),
    ]);
  });

  it("refuses lists that do not speak of every layer, naming the field", () => {
    for (const [field, value] of [
      ["hybrid_override_pattern", "M*-M"],
      ["attention_types", [[["global", "local"], 2]]],
      ["layers_block_type", ["a", "b", "c", "d"]],
    ] as const) {
      expect(() => keep(llama({ [field]: value }), [0, 1])).toThrow(new RegExp(`config.json, ${field}`));
    }
  });

  it("refuses a periodic rule that nothing else spells out, unless it still holds", () => {
    const config = llama({ moe_layer_freq: 2 });
    expect(keep(config, [0, 1, 4]).num_hidden_layers).toBe(3);
    expect(() => keep(config, [1, 2])).toThrow(code("CONFIG_CANNOT_EXPRESS"));
  });

  it.each([[[]], [[5]], [[-1]], [[1, 0]], [[1, 1]], [[0.5]]])("refuses the layers %j", (kept) => {
    expect(() => keep(llama({}), kept)).toThrow(code("LAYERS_OUT_OF_RANGE"));
  });

  it("changes nothing where all layers stay", () => {
    const config = golden("gemma2");
    expect(keep(config, [0, 1, 2, 3, 4])).toBe(config);
  });
});

describe("jamba", () => {
  const config = golden("jamba");
  const types = (c: ModelConfig) => architectureOf(c).blocks.map(({ type }) => type);

  it("either says what the kept layers are, or refuses", () => {
    let written = 0;
    fc.assert(
      fc.property(fc.subarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 1 }), (kept) => {
        let result: ModelConfig;
        try {
          result = keep(config, kept);
        } catch (error) {
          expect(error).toMatchObject({ code: "CONFIG_CANNOT_EXPRESS" });
          return;
        }
        written++;
        expect(types(result)).toEqual(kept.map((layer) => types(config)[layer]));
      }),
      { numRuns: 300 },
    );
    expect(written).toBeGreaterThan(0);
  });

  it("takes any run of neighbours, and finds the new offset", () => {
    expect(keep(config, [1, 2, 3, 4, 5, 6])).toMatchObject({
      attn_layer_period: 4,
      attn_layer_offset: 1,
      expert_layer_offset: 0,
    });
  });

  it("names sets that work", () => {
    // Experts at odd layers: without 2, those of 1 and 3 meet, and those of 3 and 5 do not.
    expect(() => keep(config, [0, 1, 3, 4, 5, 6])).toThrow(/without \[2, 7\]/);
    try {
      keep(config, [0, 1, 3, 4, 5, 6]);
    } catch (error) {
      const sets = [...(error as Error).message.matchAll(/without \[([\d, ]+)\]/g)].map((match) =>
        match[1].split(", ").map(Number),
      );
      expect(sets.length).toBeGreaterThan(1);
      for (const gone of sets.slice(0, -1)) {
        const kept = [0, 1, 2, 3, 4, 5, 6, 7].filter((layer) => !gone.includes(layer));
        expect(keep(config, kept).num_hidden_layers).toBe(6);
      }
    }
  });
});

describe("serializeConfig", () => {
  it("keeps a float a float", () => {
    const original = '{"final_logit_softcapping": 30.0, "odd_scale": 2.0, "count": 2, "list": [1.5, 2]}';
    const text = serializeConfig({ ...JSON.parse(original), rope_theta: 10000, count: 3 }, original);
    expect(text).toContain('"final_logit_softcapping": 30.0,');
    expect(text).toContain('"odd_scale": 2.0,');
    expect(text).toContain('"rope_theta": 10000.0');
    expect(text).toContain('"count": 3,');
    expect(JSON.parse(text)).toEqual({
      final_logit_softcapping: 30,
      odd_scale: 2,
      count: 3,
      list: [1.5, 2],
      rope_theta: 10000,
    });
  });
});
