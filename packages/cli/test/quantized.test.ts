import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint, openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, expect, it } from "vitest";
import { json, layerfold } from "./run-command.js";

const calibration = join(data, "calibration.jsonl");
const validation = join(data, "validation.jsonl");
const scratch = mkdtempSync(join(tmpdir(), "layerfold-quantized-"));
const at = (name: string) => join(scratch, name);
afterAll(() => rmSync(scratch, { recursive: true }));
const short = ["--max-tokens", "1000"];
const calibrated = ["--calibration", calibration, "--calibration-tokens", "1000"];

it("eval runs a quantised model packed, and says what it simulates", async () => {
  await json("quantize", checkpoint, "--scheme", "rtn-w4g32", "--embedding-bits", "8", "--out", at("w4"));
  const packed = await json("eval", at("w4"), "--perplexity", validation, ...short);
  // 16 layers of 7 linear maps, and the embedding.
  expect(packed.result.quantized).toEqual({ packed: 113, simulated: 0, simulated_activations: null });
  // What the packed weights stand for: as many as without quantisation.
  expect((await json("inspect", at("w4"))).result).toMatchObject({
    parameters: (await json("inspect", checkpoint)).result.parameters,
    parameters_per_block: [196_864],
    quantization: { method: "compressed-tensors", modules: 113 },
  });
  await json("quantize", checkpoint, "--scheme", "rtn-w8a8", "--out", at("w8a8"));
  const { stdout } = await layerfold("eval", at("w8a8"), "--perplexity", validation, ...short);
  expect(stdout).toContain("112 weights multiplied in their packed form, int8 activations simulated");
  const text = await json("generate", at("w4"), "--prompt", "Mara", "--max-new-tokens", "3");
  expect(text.result.tokens).toHaveLength(3);
  expect((await json("quantize", checkpoint, "--scheme", "rtn-w4", "--embedding-bits", "3")).code).toBe(2);
});

it("trace runs a quantised model in its bits, rounded activations too", async () => {
  const input = at("ids.safetensors");
  const row = (name: string, value: (i: number) => number) => ({
    name,
    dtype: "int64" as const,
    shape: [1, 8],
    bytes: () => new Uint8Array(BigInt64Array.from({ length: 8 }, (_, i) => BigInt(value(i))).buffer),
  });
  await writeSafetensors(input, [row("input_ids", (i) => 3 + 7 * i), row("attention_mask", () => 1)]);
  await json("quantize", checkpoint, "--scheme", "rtn-w8a8", "--out", at("rounded"));
  await json("dequantize", at("rounded"), "--dtype", "float32", "--out", at("weights-only"));
  const logits = async (model: string) => {
    await json("trace", at(model), "--input", input, "--out", at(`${model}.safetensors`));
    const trace = await openSafetensors(at(`${model}.safetensors`));
    const { data } = await trace.read("logits");
    await trace.close();
    return data;
  };
  const [rounded, exact] = [await logits("rounded"), await logits("weights-only")];
  const largest = rounded.reduce((most, value, i) => Math.max(most, Math.abs(value - exact[i])), 0);
  expect(largest).toBeGreaterThan(1e-3);
  expect(largest).toBeLessThan(1);
});

it("compress --then measures folds by schemes in one table, with sizes", async () => {
  const out = at("table");
  const { result } = await json(
    ...["compress", checkpoint, "--layers", "15", "--method", "drop", "--evaluate", validation, ...short],
    ...[...calibrated, "--then", "rtn-w4g32,rtn-w8g128", "--out", out],
  );
  const rows: Record<string, any>[] = result.rows;
  const ids = ["dense", "dense-rtn-w4g32", "dense-rtn-w8g128"];
  ids.push("drop-15", "drop-15-rtn-w4g32", "drop-15-rtn-w8g128", "drop-15-control");
  expect(rows.map(({ id }) => id)).toEqual(ids);
  expect(rows.map(({ quantization }) => quantization)).toEqual([
    ...[null, "rtn-w4g32", "rtn-w8g128"],
    ...[null, "rtn-w4g32", "rtn-w8g128", null],
  ]);
  for (const row of rows) {
    expect(row.size_ratio).toBeCloseTo(1 - row.tensor_bytes / rows[0].tensor_bytes, 12);
    expect(row.perplexity).toBeLessThan(4);
  }
  expect(rows[4].tensor_bytes).toBeLessThan(rows[1].tensor_bytes);
  expect(rows[4].size_ratio).toBeGreaterThan(0.7);
  expect(rows[1].kl_to_dense).toBeGreaterThan(0);
  for (const scheme of ["rtn-w4g32", "rtn-w8g128"]) expect(readdirSync(out)).toContain(scheme);
  const { error } = await json(
    ...["compress", checkpoint, "--layers", "15", "--method", "drop", ...calibrated, "--then", "rtn-w4g100"],
  );
  expect(error.code).toBe("GROUP_SIZE_INVALID");
  expect(error.where).toContain("layers.0.");
});

it("a quantised model folds, and keeps the codes of what the fold left alone", async () => {
  await json("quantize", checkpoint, "--scheme", "gptq-w4g32", ...calibrated, "--out", at("whole"));
  await json("plan", checkpoint, "--layers", "14", "--planner", "reverse", "--out", at("plan.json"));
  await json("merge", at("whole"), "--plan", at("plan.json"), "--out", at("folded"));
  const { code } = await json(
    ...["quantize", at("folded"), "--scheme", "gptq-w4g32", ...calibrated, "--out", at("again")],
    ...["--reuse", at("whole"), "--plan", at("plan.json")],
  );
  expect(code).toBe(0);
  const [before, after] = [await openCheckpoint(at("whole")), await openCheckpoint(at("again"))];
  expect(after.architecture.blocks).toHaveLength(14);
  // Reversed order drops from the end: the first layers are the same.
  for (const part of ["qweight", "scales", "qzeros"]) {
    const name = `model.layers.3.mlp.down_proj.${part}`;
    expect(Buffer.compare(await after.readBytes(name), await before.readBytes(name))).toBe(0);
  }
  await before.close();
  await after.close();
});

it("modules may stay dense, or take another scheme's grid", async () => {
  const { result } = await json(
    ...["quantize", checkpoint, "--scheme", "rtn-w4g32", "--out", at("mixed")],
    ...["--keep-dense", "layers\\.0\\.", "--override", "down_proj=rtn-w8g128"],
  );
  const bitsOf = new Map(result.log.map(({ module, bits }: Record<string, unknown>) => [module, bits]));
  expect(bitsOf.size).toBe(15 * 7);
  expect(bitsOf.get("model.layers.1.mlp.down_proj")).toBe(8);
  expect(bitsOf.get("model.layers.1.mlp.up_proj")).toBe(4);
  const { result: quality } = await json("eval", at("mixed"), "--perplexity", validation, ...short);
  expect(quality.quantized.packed).toBe(15 * 7);
  const wrong = ["quantize", checkpoint, "--scheme", "rtn-w4g32", "--out", at("x"), "--override", "rtn"];
  expect((await json(...wrong)).error.code).toBe("OPTION_INVALID");
});

it("activation scales are written as they were seen, and read back", async () => {
  const quantize = (out: string, ...args: string[]) =>
    json("quantize", checkpoint, "--scheme", "smoothquant-w8a8", ...calibrated, "--out", at(out), ...args);
  await quantize("seen", "--write-activation-scales", at("scales.safetensors"));
  await quantize("read", "--activation-scales", at("scales.safetensors"));
  const weights = (folder: string) => readFileSync(at(join(folder, "model.safetensors")));
  expect(weights("read").equals(weights("seen"))).toBe(true);
});

it("export writes a decoder beside its config and tokenizer", async () => {
  const { result } = await json("export", checkpoint, "--out", at("onnx"));
  expect(result.weightBytes).toBeGreaterThan(6e6);
  expect(readdirSync(at("onnx"))).toEqual(expect.arrayContaining(["config.json", "onnx", "tokenizer.json"]));
  expect(readdirSync(at("onnx/onnx"))).toEqual(["model.onnx", "model.onnx_data"]);
});

it("export writes a GGUF file that import reads, and refuses what only another target has", async () => {
  const written = await json(
    "export",
    checkpoint,
    "--target",
    "gguf",
    "--type",
    "q8_0",
    "--out",
    at("model.gguf"),
  );
  expect(written.result).toMatchObject({ file: at("model.gguf"), types: { Q8_0: 113, F32: 33 } });
  expect((await json("import", at("model.gguf"), "--out", at("back"))).code).toBe(0);
  const refused = async (...args: string[]) =>
    (await json("export", checkpoint, "--out", at("none"), ...args)).error;
  expect(await refused("--type", "q8_0")).toMatchObject({ code: "OPTION_INVALID", got: "--type" });
  expect(await refused("--target", "gguf", "--accuracy-level", "0")).toMatchObject({
    got: "--accuracy-level",
  });
  expect(await refused("--target", "gguf", "--force")).toMatchObject({ code: "OPTION_INVALID" });
});
