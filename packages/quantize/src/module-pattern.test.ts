import type { Checkpoint } from "@layerfold/checkpoint";
import { expect, it } from "vitest";
import { modulePattern } from "./module-pattern.js";
import { readQuantizedModule } from "./quantized-modules.js";

const module = `model.layers.0.${"a".repeat(60)}`;
const groupOf = (target: string) => ({
  quant_method: "compressed-tensors",
  config_groups: { group_0: { targets: [target], weights: { num_bits: 8 } } },
});

it.each<[string, object]>([
  ["no regular expression", groupOf("re:(")],
  ["no regular expression", { quant_method: "gptq", dynamic: { "+:(": { bits: 8 } } }],
  // 60 letters are cut into runs in 2^59 ways before this fails.
  ["backtracks without end", groupOf("re:.*\\.(a+)+b")],
  ["backtracks without end", { quant_method: "gptq", dynamic: { ".*\\.(a+)+b": {} } }],
])("refuses a pattern of a config: %s", async (reason, quantization) => {
  const checkpoint = { config: { quantization_config: quantization }, tensors: new Map() };
  await expect(readQuantizedModule(checkpoint as unknown as Checkpoint, module)).rejects.toThrow(
    expect.objectContaining({ code: "CONFIG_INVALID", message: expect.stringContaining(reason) }),
  );
});

it("matches anywhere in a name, and refuses a pattern of the command line by its own code", () => {
  const matches = modulePattern("q_proj$", "OPTION_INVALID", "--keep-dense");
  expect(["a.q_proj", "a.q_proj.b"].map(matches)).toEqual([true, false]);
  expect(() => modulePattern("(", "OPTION_INVALID", "--keep-dense")).toThrow(
    expect.objectContaining({ code: "OPTION_INVALID", got: "(", where: "--keep-dense" }),
  );
});
