import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Checkpoint,
  keepLayers,
  openCheckpoint,
  quantizedModules,
  randomTensors,
  writeCheckpoint,
} from "@layerfold/checkpoint";
import {
  contiguousData,
  encodeFloats,
  firstOf,
  type ModelRunner,
  type RunContext,
  type Tensor,
  tokenBatch,
} from "@layerfold/core";
import { openDecoder, openRunner, runnerModel } from "@layerfold/graph";
import { portableEngine, seededRng } from "@layerfold/linalg";
import {
  dequantizeCheckpoint,
  dequantizedCheckpoint,
  isQuantized,
  logCsv,
  type QuantizedFormat,
  quantizeCheckpoint,
  quantizedWeights,
  quantizeLayers,
  readActivationScales,
  readQuantizedModule,
  rtn,
  runningSummary,
  schemeOf,
  writeActivationScales,
} from "@layerfold/quantize";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tinyLlama as config } from "./tiny-llama.test.fixture.js";

const rng = seededRng(2);
const ctx: RunContext = { rng, engine: portableEngine() };
const batches = [0, 1].map(() =>
  tokenBatch([32, 20].map((length) => Int32Array.from({ length }, () => rng.integer(50)))),
);
const calibration = async function* () {
  yield* batches;
};

let folder: string;
let checkpoint: Checkpoint;
let runner: ModelRunner;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-quantize-"));
  await writeCheckpoint(join(folder, "dense"), { config, tensors: randomTensors(config, rng) });
  checkpoint = await openCheckpoint(join(folder, "dense"));
  runner = await openRunner(checkpoint);
});

afterAll(async () => {
  await runner.close();
  await checkpoint.close();
  await rm(folder, { recursive: true, force: true });
});

const bytes = (value: Tensor | undefined) =>
  Buffer.from(encodeFloats(contiguousData(value as Tensor), "float32"));

describe("quantizeCheckpoint", () => {
  const cases: [scheme: string, format: QuantizedFormat, set?: Record<string, Record<string, unknown>>][] = [
    ["rtn-w4g32-asym", "compressed-tensors"],
    ["rtn-w3g32", "gptq"],
    ["gptq-w4g32", "gptq"],
    ["gptq-w4g32-asym", "gptq_v2", { gptq: { activationOrder: true } }],
    ["gptq-w4g32", "compressed-tensors", { gptq: { activationOrder: true } }],
    ["awq-w4g32", "awq", { awq: { scaleSteps: 3 } }],
    ["gptq-awq-w2g32-asym", "gptq", { awq: { scaleSteps: 3 } }],
    ["smoothquant-w8a8", "compressed-tensors"],
    ["fp8", "compressed-tensors"],
  ];

  it.each(cases)("%s in %s files reads back as the block that ran", async (name, format, set) => {
    const scheme = schemeOf(name, { dtype: checkpoint.dtype, format, ...(set && { set }) });
    const given = { scheme, calibration };
    const blocks = [];
    for await (const layer of quantizeLayers(checkpoint, runner, given, ctx)) blocks.push(layer.block);
    const out = join(folder, "out");
    const told: string[] = [];
    const { written, log } = await quantizeCheckpoint(
      checkpoint,
      runner,
      out,
      { ...given, force: true },
      { ...ctx, report: (event) => event.type === "diagnostic" && told.push(event.code) },
    );
    expect(told).toEqual(format === "gptq" && name.endsWith("-asym") ? ["GPTQ_V1_ASYMMETRIC"] : []);
    expect(log).toHaveLength(14);
    expect(log.every(({ loss, relativeLoss }) => (loss ?? -1) > 0 && (relativeLoss ?? 1) < 0.3)).toBe(true);
    expect(written.tensorBytes).toBeLessThan(checkpoint.tensors.size * 64 * 96 * 2);

    const opened = await openCheckpoint(out);
    expect(isQuantized(opened)).toBe(true);
    expect(quantizedModules(opened)).toHaveLength(14);
    const reading = dequantizedCheckpoint(opened);
    for (const [layer, block] of blocks.entries()) {
      const { tensors } = await reading.block(layer);
      expect([...tensors.keys()]).toEqual([...block.tensors.keys()]);
      for (const [role, value] of tensors)
        expect(bytes(value).equals(bytes(block.tensors.get(role)))).toBe(true);
    }

    // The graph over the packed codes gives what the dequantised blocks give, one by one.
    const weights = await quantizedWeights(opened);
    expect(runningSummary(weights.values())).toMatchObject({
      packed: name === "fp8" ? 0 : 14,
      simulated_activations: name === "fp8" ? "float8_e4m3" : name.endsWith("w8a8") ? "int8" : null,
    });
    if (name !== "fp8") {
      const packed = await openDecoder(opened, { quantizedWeights: weights });
      const exact = await openRunner(reading, { activationBits: name.endsWith("w8a8") ? 8 : undefined });
      const got = contiguousData(await firstOf(packed.logits([batches[0]])));
      const wanted = contiguousData(await firstOf(runnerModel(exact).logits([batches[0]])));
      // Logits are of size 0.1; an activation that rounding tips over to the next code changes one by 1e-4.
      const largest = wanted.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i])), 0);
      expect(largest).toBeLessThan(name.endsWith("w8a8") ? 1e-3 : 1e-5);
      await packed.close();
      await exact.close();
    }
    await expect(openDecoder(opened)).rejects.toMatchObject({ code: "CHECKPOINT_QUANTIZED" });

    const dense = join(folder, "again");
    await dequantizeCheckpoint(opened, dense, { dtype: "float32", force: true }, ctx);
    const again = await openCheckpoint(dense);
    expect(isQuantized(again)).toBe(false);
    const down = await again.read("model.layers.1.mlp.down_proj.weight");
    expect(bytes(down).equals(bytes(blocks[1].tensors.get("mlp.down")))).toBe(true);
    await again.close();
    await opened.close();
  });

  it.each(["fp8", "rtn-w4g32", "gptq-w4g32", "awq-w4g32", "smoothquant-w8a8"])(
    "%s refuses weights that are not finite, and names the first",
    async (name) => {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const spoiled: Checkpoint = {
          ...checkpoint,
          async block(layer) {
            const view = await checkpoint.block(layer);
            if (layer === 1) view.tensors.get("mlp.down")!.data[96 + 2] = value;
            return view;
          },
        };
        const scheme = schemeOf(name, { dtype: checkpoint.dtype });
        const out = join(folder, "spoiled");
        await expect(
          quantizeCheckpoint(spoiled, runner, out, { scheme, calibration }, ctx),
        ).rejects.toMatchObject({
          code: "WEIGHT_NOT_FINITE",
          got: `${value} at [1, 2]`,
          where: "model.layers.1.mlp.down_proj.weight",
        });
        expect((await readdir(folder)).filter((file) => file.includes("spoiled"))).toEqual([]);
      }
    },
  );

  it("refuses packed weights of another shape than the config asks for", async () => {
    const out = join(folder, "narrow");
    const scheme = schemeOf("rtn-w4g32", { dtype: checkpoint.dtype, format: "gptq" });
    await quantizeCheckpoint(checkpoint, undefined, out, { scheme }, ctx);
    const stored = JSON.parse(await readFile(join(out, "config.json"), "utf8"));
    await writeFile(join(out, "config.json"), JSON.stringify({ ...stored, intermediate_size: 64 }));
    const opened = await openCheckpoint(out);
    const wrong = { code: "TENSOR_SHAPE", wanted: "[64, 64]", got: "[96, 64]" };
    await expect(readQuantizedModule(opened, "model.layers.0.mlp.up_proj")).rejects.toMatchObject(wrong);
    await expect(quantizedWeights(opened)).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
    await opened.close();
  });

  it.each(["gptq-w4g32", "gptq-awq-w4g32"])(
    "%s: what passes keep is what they would compute",
    async (name) => {
      const forgetful: ModelRunner = {
        ...runner,
        runBlock: (layer, input, options) => runner.runBlock(layer, input, { ...options, given: undefined }),
      };
      let given = 0;
      const counting: ModelRunner = {
        ...runner,
        runBlock(layer, input, options) {
          given += options?.given?.size ?? 0;
          return runner.runBlock(layer, input, options);
        },
      };
      const codes = async (model: ModelRunner) => {
        const scheme = schemeOf(name, { dtype: checkpoint.dtype, set: { awq: { scaleSteps: 3 } } });
        const all: Uint8Array[] = [];
        for await (const { quantized } of quantizeLayers(checkpoint, model, { scheme, calibration }, ctx)) {
          for (const tensor of quantized.values()) all.push(tensor.codes);
        }
        return all;
      };
      expect(await codes(counting)).toEqual(await codes(forgetful));
      // For both batches of both layers heads, then the middle; behind the first layer the middle and what the down projection reads.
      expect(given).toBe(2 * (2 * 2) + 2 * 2);
    },
  );

  it("GPTQ loses less than rounding, layer by layer", async () => {
    const total = async (name: string) => {
      const scheme = schemeOf(name, { dtype: checkpoint.dtype });
      const losses = new Map<string, number>();
      for await (const { records } of quantizeLayers(checkpoint, runner, { scheme, calibration }, ctx)) {
        for (const { module, relativeLoss } of records) losses.set(module, relativeLoss as number);
      }
      return losses;
    };
    const [control, ours] = [await total("rtn-w3g32"), await total("gptq-w3g32")];
    for (const [module, loss] of ours) expect(loss).toBeLessThan(control.get(module) as number);
  });

  it("an expert's down projection is calibrated with what its own tokens give it", async () => {
    const moe = {
      ...config,
      model_type: "mixtral",
      architectures: ["MixtralForCausalLM"],
      num_local_experts: 4,
      num_experts_per_tok: 2,
      num_hidden_layers: 1,
    };
    const out = join(folder, "moe");
    await writeCheckpoint(out, { config: moe, tensors: randomTensors(moe, rng) });
    const opened = await openCheckpoint(out);
    const whole = await openRunner(opened);
    const total = async (name: string) => {
      const scheme = schemeOf(name, { dtype: opened.dtype });
      const losses = new Map<string, number>();
      for await (const { records } of quantizeLayers(opened, whole, { scheme, calibration }, ctx)) {
        for (const { module, loss } of records) losses.set(module, loss as number);
      }
      return [...losses].filter(([module]) => /w2|down/.test(module));
    };
    const [rounded, ours] = [await total("rtn-w3g32"), await total("gptq-w3g32")];
    expect(rounded).toHaveLength(4);
    for (const [i, [module, loss]] of ours.entries()) {
      expect(rounded[i][0]).toBe(module);
      expect(loss).toBeGreaterThan(0);
      expect(loss).toBeLessThan(rounded[i][1]);
    }
    await whole.close();
    await opened.close();
  });

  it("leaves modules dense or gives them another quantizer, and says so in every format's config", async () => {
    const overrides = [
      { match: "layers\\.0\\..*down_proj" },
      { match: "o_proj$", quantizer: rtn({ bits: 8, groupSize: 64, scaleDtype: "float16" }) },
    ];
    const configOf = async (format: QuantizedFormat) => {
      const scheme = schemeOf("rtn-w4g32", { dtype: "float16", format });
      const out = join(folder, "mixed");
      await quantizeCheckpoint(half, undefined, out, { scheme, overrides, force: true }, ctx);
      const opened = await openCheckpoint(out);
      const reading = dequantizedCheckpoint(opened);
      expect(bytes((await reading.block(0)).tensors.get("mlp.down"))).toEqual(
        bytes((await half.block(0)).tensors.get("mlp.down")),
      );
      expect((await reading.block(1)).tensors.size).toBe(9);
      await opened.close();
      return opened;
    };
    await writeCheckpoint(join(folder, "half"), { config, tensors: randomTensors(config, rng, "float16") });
    const half = await openCheckpoint(join(folder, "half"));
    const compressed = (await configOf("compressed-tensors")).config.quantization_config;
    expect(compressed).toMatchObject({
      quant_method: "compressed-tensors",
      format: "pack-quantized",
      ignore: ["lm_head", "model.layers.0.mlp.down_proj"],
      config_groups: {
        group_0: {
          targets: ["Linear"],
          input_activations: null,
          weights: { num_bits: 4, group_size: 32, strategy: "group" },
        },
        group_1: {
          targets: ["model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj"],
          weights: { num_bits: 8, group_size: null, strategy: "channel" },
        },
      },
    });
    const opened = await configOf("gptq");
    expect(opened.config.quantization_config).toMatchObject({
      quant_method: "gptq",
      bits: 4,
      group_size: 32,
      sym: true,
      desc_act: false,
      checkpoint_format: "gptq",
      dynamic: {
        "-:^model\\.layers\\.0\\.mlp\\.down_proj$": {},
        "+:^model\\.layers\\.1\\.self_attn\\.o_proj$": {
          bits: 8,
          group_size: -1,
          sym: true,
          desc_act: false,
        },
      },
    });
    expect(JSON.parse(await readFile(join(folder, "mixed", "quantize_config.json"), "utf8"))).toEqual(
      opened.config.quantization_config,
    );
    // Names follow the layers when the quantised checkpoint is folded as it is.
    const kept = keepLayers(opened.family, opened.config, [1]).quantization_config as { dynamic: object };
    expect(Object.keys(kept.dynamic)).toEqual(["+:^model\\.layers\\.0\\.self_attn\\.o_proj$"]);
    await expect(configOf("awq")).rejects.toThrow(
      expect.objectContaining({ code: "QUANTIZATION_NOT_EXPRESSIBLE" }),
    );
    await half.close();
  });

  it("states activations in the config where they are rounded", async () => {
    const out = join(folder, "w8a8");
    const scheme = schemeOf("rtn-w8a8", { dtype: checkpoint.dtype });
    const { log } = await quantizeCheckpoint(checkpoint, undefined, out, { scheme }, ctx);
    const opened = await openCheckpoint(out);
    expect(opened.config.quantization_config).toMatchObject({
      format: "int-quantized",
      config_groups: {
        group_0: {
          weights: { num_bits: 8, strategy: "channel", type: "int", dynamic: false },
          input_activations: { num_bits: 8, strategy: "token", type: "int", dynamic: true, symmetric: true },
        },
      },
    });
    expect(logCsv(log).split("\n").slice(0, 2).join("\n")).toMatch(
      /^layer,module,bits,groupSize,loss,relativeLoss,damping\n0,model\.layers\.0\.self_attn\.q_proj,8,64,,,$/,
    );
    await expect(
      quantizeCheckpoint(opened, undefined, join(folder, "twice"), { scheme }, ctx),
    ).rejects.toThrow(expect.objectContaining({ code: "CHECKPOINT_QUANTIZED" }));
    await opened.close();
  });

  it("keeps the codes of what a fold left alone, and quantises the rest anew", async () => {
    const scheme = schemeOf("rtn-w4g32", { dtype: checkpoint.dtype });
    await quantizeCheckpoint(checkpoint, undefined, join(folder, "source"), { scheme, force: true }, ctx);
    const source = await openCheckpoint(join(folder, "source"));
    // Layer 0 goes; of layer 1, one weight is repaired.
    const read = dequantizedCheckpoint(source);
    const last = { ...keepLayers(source.family, read.config, [1]) };
    const tensors = randomTensors(last, rng, "bfloat16").map((made) => ({
      ...made,
      async bytes() {
        if (made.name.endsWith("down_proj.weight")) return made.bytes();
        const name = made.name.replace("layers.0", "layers.1");
        return encodeFloats(contiguousData(await read.read(name)), "bfloat16");
      },
    }));
    await writeCheckpoint(join(folder, "folded"), { config: last, tensors, force: true });
    const folded = await openCheckpoint(join(folder, "folded"));
    const reuse = { checkpoint: source, layers: [1] };
    // A fresh grid would differ: the largest code of a symmetric group is not the end of its range.
    for await (const { quantized } of quantizeLayers(folded, undefined, { scheme, reuse }, ctx)) {
      for (const [role, { codes, scales }] of quantized) {
        const name = {
          "mlp.down": "mlp.down_proj",
          "mlp.up": "mlp.up_proj",
          "attention.query": "self_attn.q_proj",
        }[role];
        if (!name) continue;
        const before = await readQuantizedModule(source, `model.layers.1.${name}`);
        const same =
          Buffer.compare(codes, before.codes) === 0 && scales.every((scale, i) => scale === before.scales[i]);
        expect([role, same]).toEqual([role, role !== "mlp.down"]);
      }
    }
    await folded.close();
    await source.close();
  });

  it("takes SmoothQuant's activation scales from a file", async () => {
    const file = join(folder, "scales.safetensors");
    const names = ["input_layernorm", "x"].map((_, layer) => `model.layers.${layer}.self_attn.q_proj`);
    await writeActivationScales(file, new Map(names.map((name) => [name, new Float64Array(64).fill(4)])));
    const activationScales = await readActivationScales(file);
    const scheme = schemeOf("smoothquant-w8a8", { dtype: checkpoint.dtype });
    for await (const { block } of quantizeLayers(
      checkpoint,
      runner,
      { scheme, calibration, activationScales },
      ctx,
    )) {
      const dense = (await checkpoint.block(block.layer)).tensors;
      const column = (["query", "key", "value"] as const).map((part) => {
        const values = contiguousData(dense.get(`attention.${part}`) as Tensor<Float32Array>);
        return values.reduce((most, value, i) => (i % 64 === 0 ? Math.max(most, Math.abs(value)) : most), 0);
      });
      // s = √(4 / max|w|), stored in bfloat16.
      const expected =
        contiguousData(dense.get("norm.attention") as Tensor)[0] / Math.sqrt(4 / Math.max(...column));
      const gain = contiguousData(block.tensors.get("norm.attention") as Tensor)[0];
      expect(Math.abs(gain / expected - 1)).toBeLessThan(2 ** -8);
    }
  });

  it("refuses bad wishes before anything is computed", async () => {
    const attempt = (name: string) =>
      quantizeCheckpoint(
        checkpoint,
        runner,
        join(folder, "never"),
        { scheme: schemeOf(name, { dtype: checkpoint.dtype }) },
        ctx,
      );
    await expect(attempt("rtn-w4g64")).rejects.toThrow(
      expect.objectContaining({
        code: "GROUP_SIZE_INVALID",
        wanted: "-1, 8, 12, 16, 24, 32, 48, 96",
        where: "model.layers.0.mlp.down_proj",
      }),
    );
    await expect(attempt("gptq-w4g32")).rejects.toThrow(
      expect.objectContaining({ code: "STATISTICS_MISSING" }),
    );
    await expect(attempt("smoothquant-w8a8")).rejects.toThrow(
      expect.objectContaining({ code: "STATISTICS_MISSING" }),
    );
  });
});

const gpt2 = {
  model_type: "gpt2",
  architectures: ["GPT2LMHeadModel"],
  dtype: "float32",
  n_embd: 64,
  n_layer: 2,
  n_head: 4,
  n_positions: 128,
  vocab_size: 50,
  activation_function: "gelu_new",
};

describe.each([
  ["llama", config, "awq-w4g32", "compressed-tensors"],
  ["gpt2", gpt2, "gptq-w4g32", "gptq"],
] as const)("broken off, %s", (family, ofFamily, scheme, format) => {
  it("goes on after the layers that are done, to the same bytes", async () => {
    const at = (name: string) => join(folder, `${family}-${name}`);
    await writeCheckpoint(at("dense"), { config: ofFamily, tensors: randomTensors(ofFamily, rng) });
    const dense = await openCheckpoint(at("dense"));
    const own = await openRunner(dense);
    const quantize = (out: string, unfinished?: string, breakAt?: number) => {
      const interruption = new AbortController();
      let tapped = 0;
      const watched: ModelRunner = {
        ...own,
        runBlock(...given) {
          if (given[2]?.taps?.length) tapped++;
          return own.runBlock(...given);
        },
      };
      const report: RunContext["report"] = (event) => {
        if (event.type === "progress" && event.stage === "quantize" && event.done === breakAt)
          interruption.abort();
      };
      const options = { scheme: schemeOf(scheme, { dtype: dense.dtype, format }), calibration, unfinished };
      const done = quantizeCheckpoint(dense, watched, out, options, {
        ...ctx,
        report,
        signal: interruption.signal,
      });
      return done.then(({ log }) => ({ log: log.map(({ seconds: _, ...record }) => record), tapped }));
    };
    const whole = await quantize(at("whole"));
    await expect(quantize(at("resumed"), at("layers"), 1)).rejects.toMatchObject({ code: "INTERRUPTED" });
    await cp(at("layers"), at("damaged"), { recursive: true });
    const codes = join(at("damaged"), "0.codes");
    const half = await readFile(codes);
    half[Math.floor(half.length / 2)] ^= 1;
    await writeFile(codes, half);
    const resumed = await quantize(at("resumed"), at("layers"));
    expect(resumed.log).toEqual(whole.log);
    // Nothing was looked at in the layer that was done.
    expect(resumed.tapped).toBe(whole.tapped / 2);
    const bytes = (name: string) => readFile(join(at(name), "model.safetensors"));
    expect((await bytes("resumed")).equals(await bytes("whole"))).toBe(true);
    // A layer whose file is damaged is done again.
    expect((await quantize(at("again"), at("damaged"))).tapped).toBe(whole.tapped);
    expect((await bytes("again")).equals(await bytes("whole"))).toBe(true);
    await own.close();
    await dense.close();
  });
});
