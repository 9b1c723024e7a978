import { describe, expect, it } from "vitest";
import { checkQuantization } from "./check-quantization.js";

const check = (quantization: unknown) => () => checkQuantization({ quantization_config: quantization });

describe("checkQuantization", () => {
  it.each<[string, unknown]>([
    ["quantization_config", "fp8"],
    ["quantization_config", []],
    ["quantization_config.ignore", { ignore: "lm_head" }],
    ["quantization_config.ignore.1", { ignore: ["lm_head", 7] }],
    ["quantization_config.modules_to_not_convert", { modules_to_not_convert: {} }],
    ["quantization_config.config_groups", { config_groups: [7] }],
    ["quantization_config.config_groups.group_0", { config_groups: { group_0: "x" } }],
    [
      "quantization_config.config_groups.group_0.targets",
      { config_groups: { group_0: { targets: "Linear" } } },
    ],
    [
      "quantization_config.config_groups.group_0.targets",
      { config_groups: { group_0: { targets: { 0: "a" } } } },
    ],
    [
      "quantization_config.config_groups.group_0.targets.0",
      { config_groups: { group_0: { targets: [null] } } },
    ],
    ["quantization_config.config_groups.group_0.weights", { config_groups: { group_0: { weights: 4 } } }],
    ["quantization_config.dynamic", { dynamic: "-:lm_head" }],
  ])("names %s", (field, quantization) => {
    const where = `config.json, ${field}`;
    expect(check(quantization)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID", where }));
  });

  it("takes what quantisers write", () => {
    const weights = { num_bits: 8 };
    const groups = { group_0: { targets: ["Linear", "re:.*q_proj"], weights, input_activations: null } };
    for (const quantization of [
      undefined,
      null,
      { quant_method: "awq", modules_to_not_convert: null, zero_point: true },
      { quant_method: "gptq", dynamic: { "-:.*lm_head": {}, "+:.*down_proj": { bits: 8 } } },
      { quant_method: "compressed-tensors", config_groups: groups, ignore: ["lm_head"] },
    ]) {
      expect(check(quantization)).not.toThrow();
    }
  });
});
