import { describe, expect, it } from "vitest";
import { readConfig } from "./config-reader.js";
import { architectureOf } from "./families.js";

const read = (field: unknown) => readConfig({ field } as never);

describe("readConfig", () => {
  it.each<[kind: "count" | "index" | "number" | "positive" | "epsilon", taken: number[], refused: unknown[]]>(
    [
      ["count", [1, 2 ** 31 - 1], [0, -1, 1.5, 2 ** 31, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, "1"]],
      ["index", [0, 2 ** 31 - 1], [-1, 0.5, 2 ** 31]],
      // The largest float32 is about 3.4e38, the least about 1.4e-45.
      ["number", [-1.5, 0, 3.4e38], [3.5e38, Number.NaN, "1", true]],
      ["positive", [1.5e-45, 3.4e38], [0, -1, 1e-46, 3.5e38, Number.NaN]],
      ["epsilon", [0, 1e-5, 0.5], [-1e-5, 1, Number.NaN]],
    ],
  )("a %s is refused by field outside its sense", (kind, taken, refused) => {
    for (const value of taken) expect(read(value)[kind]("field")).toBe(value);
    for (const value of refused) {
      expect(() => read(value)[kind]("field")).toThrow(
        expect.objectContaining({ code: "CONFIG_INVALID", where: "config.json, field" }),
      );
    }
  });

  it("tells a field that is null from one that is absent where it is optional", () => {
    for (const kind of ["optionalNumber", "optionalPositive", "optionalCount"] as const) {
      expect([read(null)[kind]("field", 7), read(undefined)[kind]("field", 7)]).toEqual([undefined, 7]);
      expect(() => read("7")[kind]("field")).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    }
    expect(() => read(0).optionalCount("field")).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
  });
});

const llama = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  vocab_size: 10,
  max_position_embeddings: 16,
};

it.each<[string, object]>([
  ["rms_norm_eps", { rms_norm_eps: -1e-5 }],
  ["rope_theta", { rope_theta: 0 }],
  // Θ^(−2i/d) is infinite from the first frequency on that float32 cannot hold: 1e-44^(-16/24) is 2e29, 1e-44^(-22/24) 2e40.
  ["rope_theta", { rope_theta: 1e-44, head_dim: 24 }],
  ["head_dim", { head_dim: 2 ** 20 }],
  ["hidden_size", { hidden_size: 2 ** 30, num_attention_heads: 2 }],
  ["partial_rotary_factor", { partial_rotary_factor: 2 }],
  ["factor", { rope_scaling: { rope_type: "linear", factor: 0 } }],
])("an architecture without sense is refused at %s", (field, change) => {
  const refused = expect.objectContaining({
    code: "CONFIG_INVALID",
    where: expect.stringMatching(`${field}$`),
  });
  expect(() => architectureOf({ ...llama, ...change })).toThrow(refused);
});

it("does not name more experts than any model has", () => {
  const config = { ...llama, model_type: "mixtral", num_local_experts: 2 ** 30 };
  expect(() => architectureOf(config)).toThrow(/cannot use num_local_experts/);
});

it.each([
  ["mixtral", "num_local_experts"],
  ["qwen3_moe", "num_experts"],
  ["jamba", "num_experts"],
])("%s: no token goes through more experts than there are", (modelType, field) => {
  const config = {
    ...llama,
    model_type: modelType,
    [field]: 4,
    ...(modelType === "jamba" && { attn_layer_offset: 0, expert_layer_offset: 0, mamba_dt_rank: 1 }),
  };
  expect(architectureOf({ ...config, num_experts_per_tok: 4 }).blocks[0].feedForward).toMatchObject({
    expertCount: 4,
    expertsPerToken: 4,
  });
  expect(() => architectureOf({ ...config, num_experts_per_tok: 5 })).toThrow(
    expect.objectContaining({ code: "CONFIG_INVALID", wanted: expect.stringMatching(/1 to 4$/) }),
  );
});
