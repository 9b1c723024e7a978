import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DType, Rng } from "@layerfold/core";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { ModelConfig } from "./family.js";
import { openCheckpoint } from "./open-checkpoint.js";
import { quantizedModules } from "./quantization-method.js";
import { randomTensors } from "./random-tensors.js";
import { type TensorSource, writeSafetensors } from "./safetensors.js";

const config: ModelConfig = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  vocab_size: 10,
  max_position_embeddings: 16,
  tie_word_embeddings: true,
};
const module = "model.layers.1.mlp.up_proj";
const zeros: Rng = {
  uniform: () => 0,
  normal: () => 0,
  integer: () => 0,
  permutation: () => new Int32Array(),
  fork: () => zeros,
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-check-"));
});
beforeEach(async () => {
  for (const name of ["quantize_config.json", "quant_config.json", "hf_quant_config.json"]) {
    await rm(join(folder, name), { force: true });
  }
});
afterAll(() => rm(folder, { recursive: true }));

function part(suffix: string, dtype: DType, shape: readonly number[]): TensorSource {
  const bytes = { int32: 4, float32: 4, bfloat16: 2 }[dtype as string] ?? 1;
  const size = shape.reduce((product, n) => product * n, bytes);
  return { name: `${module}.${suffix}`, dtype, shape, bytes: () => new Uint8Array(size) };
}

/** A checkpoint whose `module` is stored in these parts instead of a plain weight. */
async function write(parts: readonly TensorSource[] | undefined, change: ModelConfig = {}): Promise<void> {
  const plain = randomTensors(config, zeros);
  const tensors = parts ? [...plain.filter(({ name }) => name !== `${module}.weight`), ...parts] : plain;
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, ...change }));
}

const float8 = [part("weight", "float8_e4m3", [12, 8]), part("weight_scale_inv", "float32", [1, 1])];
const int8 = [part("weight", "int8", [12, 8]), part("weight_scale", "bfloat16", [12, 1])];
const words = [
  part("qweight", "int32", [1, 12]),
  part("qzeros", "int32", [1, 2]),
  part("scales", "bfloat16", [1, 12]),
];
const plain = part("weight", "bfloat16", [12, 8]);
const by = (quant_method: string, rest: object = {}) => ({
  quantization_config: { quant_method, ...rest },
});

it.each<[string, readonly TensorSource[] | undefined, ModelConfig, RegExp]>([
  ["bitsandbytes", undefined, { quantization_config: { load_in_8bit: true } }, /got bitsandbytes int8/],
  [
    "nf4",
    undefined,
    by("bitsandbytes", { load_in_4bit: true, bnb_4bit_quant_type: "nf4" }),
    /bitsandbytes nf4/,
  ],
  ["an unknown method", undefined, by("constructor"), /got constructor/],
  ["MLX", undefined, { quantization: { bits: 4, group_size: 64 } }, /got mlx/],
  ["no method at all", undefined, { quantization_config: { bits: 4 } }, /got none named/],
  ["float8 that no config speaks of", float8, {}, /up_proj\.weight .*got float8_e4m3/],
  ["int8 that no config speaks of", int8, {}, /up_proj\.weight .*got int8/],
  ["packed words that no config speaks of", words, {}, /up_proj\.(qweight|qzeros) .*got int32/],
  ["bytes of another shape", [part("weight", "uint8", [48, 1])], {}, /up_proj\.weight .*got uint8/],
  ["the other float8", [part("weight", "float8_e5m2", [12, 8]), float8[1]], by("fp8"), /got float8_e5m2/],
  [
    "a scale beside a plain weight",
    [plain, part("weight_scale", "float32", [1])],
    {},
    /up_proj\.weight_scale/,
  ],
  ["int8's SCB", [plain, part("SCB", "float32", [12])], {}, /up_proj\.SCB/],
  ["a scale of a scale", [plain, part("weight.absmax", "float32", [12])], {}, /up_proj\.weight\.absmax/],
  [
    "a second scale",
    [...int8, part("weight_global_scale", "float32", [1])],
    by("compressed-tensors"),
    /up_proj\.weight_global_scale/,
  ],
])("refuses %s", async (_, parts, change, told) => {
  await write(parts, change);
  const refused = await openCheckpoint(folder).catch((error) => error);
  expect(refused).toMatchObject({ code: "QUANTIZATION_UNSUPPORTED", message: expect.stringMatching(told) });
});

it("refuses codes without their scales, and codes of another shape than the weight's", async () => {
  await write([float8[0]], by("fp8"));
  await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "QUANTIZED_TENSOR_INVALID" });
  await write([part("weight", "int8", [12, 4]), int8[1]], by("compressed-tensors"));
  await expect(openCheckpoint(folder)).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
});

it.each<[string, readonly TensorSource[], ModelConfig, string | undefined, string]>([
  ["quantization_config", float8, by("FP8", { weight_block_size: [128, 128] }), undefined, "fp8"],
  [
    "compression_config",
    int8,
    { compression_config: { config_groups: {} } },
    undefined,
    "compressed-tensors",
  ],
  ["quantize_config.json", words, {}, '{"bits": 4, "group_size": 8}', "gptq"],
  ["quant_config.json", words, {}, '{"w_bit": 4, "q_group_size": 8, "version": "GEMM"}', "awq"],
])("reads the method from %s", async (place, parts, change, text, method) => {
  await write(parts, change);
  if (text) await writeFile(join(folder, place), text);
  const checkpoint = await openCheckpoint(folder);
  expect(checkpoint.config.quantization_config).toMatchObject({ quant_method: method });
  expect(checkpoint.config).not.toHaveProperty("compression_config");
  expect(quantizedModules(checkpoint)).toEqual([module]);
  // The type of what is not quantised, not of the codes.
  expect(checkpoint.dtype).toBe("bfloat16");
  await checkpoint.close();
});

it("takes ModelOpt's file at its word, and one that was left beside dense weights for nothing", async () => {
  await write(undefined);
  await writeFile(join(folder, "quantize_config.json"), '{"bits": 4}');
  const checkpoint = await openCheckpoint(folder);
  expect(checkpoint.config).toEqual(JSON.parse(await readFile(join(folder, "config.json"), "utf8")));
  await checkpoint.close();
  await writeFile(join(folder, "hf_quant_config.json"), '{"quantization": {"quant_algo": "NVFP4"}}');
  await expect(openCheckpoint(folder)).rejects.toThrow(/got modelopt NVFP4/);
});

it("holds the layer count against the weights before anything is built of it", async () => {
  await write(undefined, { num_hidden_layers: 20_000_000 });
  await expect(openCheckpoint(folder)).rejects.toMatchObject({
    code: "LAYER_MISSING",
    wanted: "20000000 layers",
    got: "2",
  });
});
