import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import { checkpoint, data } from "@layerfold/foldling";
import { graphBuilder } from "@layerfold/onnx";
import { afterAll, describe, expect, it } from "vitest";
import { json, layerfold } from "./run-command.js";

const calibration = join(data, "calibration.jsonl");
const validation = join(data, "validation.jsonl");
const questions = join(data, "questions-dev.jsonl");
const scratch = mkdtempSync(join(tmpdir(), "layerfold-cli-"));
const at = (name: string) => join(scratch, name);
const manifest = (file: string) => JSON.parse(readFileSync(at(file), "utf8"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("help", () => {
  it("of every command has an example", async () => {
    const { code, stdout } = await layerfold("--help");
    expect(code).toBe(0);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)]
      .map(([, name]) => name)
      .filter((name) => name !== "help");
    expect(commands).toEqual(
      expect.arrayContaining([
        "demo",
        "compress",
        "inspect",
        "trace",
        "capture",
        "similarity",
        "plan",
        "merge",
        "eval",
      ]),
    );
    for (const name of commands) {
      const help = await layerfold(name, "--help");
      expect(help.code, name).toBe(0);
      expect(help.stdout, name).toContain(`$ layerfold ${name}`);
      expect(help.stdout, name).toContain("--json");
    }
  });
});

describe("wrong usage", () => {
  it.each([
    ["an unknown command", ["inspct", checkpoint]],
    ["an unknown option", ["inspect", checkpoint, "--fast"]],
    ["a missing argument", ["inspect"]],
    ["a missing option", ["merge", checkpoint, "--out", "x"]],
    ["a number that is none", ["compress", checkpoint, "--layers", "many"]],
  ])("%s exits with 2", async (_, args) => {
    const { code, stderr } = await layerfold(...args);
    expect(code).toBe(2);
    expect(stderr).toContain("error");
  });

  it.each([
    ["a folder that is no checkpoint", ["inspect", data], "CHECKPOINT_MISSING"],
    [
      "a method that there is not",
      ["compress", checkpoint, "--layers", "12", "--method", "mkaa"],
      "PRESET_UNKNOWN",
    ],
    [
      "more layers than there are",
      ["compress", checkpoint, "--layers", "16", "--method", "drop", "--calibration", calibration],
      "LAYERS_OUT_OF_RANGE",
    ],
    [
      "no layers at all",
      ["compress", checkpoint, "--layers", "0", "--method", "drop", "--calibration", calibration],
      "LAYERS_OUT_OF_RANGE",
    ],
    ["no calibration", ["compress", checkpoint, "--layers", "12", "--method", "mka"], "CALIBRATION_MISSING"],
    ["nothing to evaluate", ["eval", checkpoint], "NOTHING_TO_EVALUATE"],
    [
      "a window beyond the context",
      ["eval", checkpoint, "--perplexity", validation, "--window", "513"],
      "WINDOW_TOO_LONG",
    ],
    [
      "an unknown planner",
      ["plan", checkpoint, "--layers", "12", "--planner", "lowest-influenze", "--out", at("x.json")],
      "PLUGIN_UNKNOWN",
    ],
    ["a setting for nothing", ["inspect", checkpoint, "--set", "embedding.alpha=1"], "OPTION_UNKNOWN"],
    ["a setting that is none", ["inspect", checkpoint, "--set", "alpha"], "OPTION_INVALID"],
    [
      "an unknown option of a plug-in",
      [
        "plan",
        checkpoint,
        "--layers",
        "12",
        "--planner",
        "reverse",
        "--set",
        "embedding.alfa=1",
        "--out",
        at("x.json"),
      ],
      "OPTION_UNKNOWN",
    ],
    [
      "evidence that there is not",
      ["plan", checkpoint, "--layers", "12", "--planner", "lowest-influence", "--out", at("x.json")],
      "EVIDENCE_MISSING",
    ],
  ])("%s is refused with its code", async (_, args, wanted) => {
    const { code, error } = await json(...args);
    expect(error?.code).toBe(wanted);
    expect(code).toBe(2);
  });

  it("suggests the plug-in that was meant, and names the options that there are", async () => {
    const plan = ["plan", checkpoint, "--layers", "12", "--out", at("x.json"), "--planner"];
    expect((await json(...plan, "lowest-influenze")).error.message).toContain(
      'Did you mean "lowest-influence"?',
    );
    expect((await json(...plan, "reverse", "--set", "embedding.alfa=1")).error.wanted).toContain("alpha");
  });

  it("an empty and a too short text are refused", async () => {
    writeFileSync(at("empty.txt"), " \n");
    writeFileSync(at("short.txt"), "Mara went to the mill.");
    expect((await json("eval", checkpoint, "--perplexity", at("empty.txt"))).error.code).toBe("TEXT_EMPTY");
    expect((await json("eval", checkpoint, "--perplexity", at("short.txt"))).error.code).toBe(
      "TEXT_TOO_SHORT",
    );
  });
});

it("inspect tells shapes, parameters and dtype", async () => {
  const { result } = await json("inspect", checkpoint);
  expect(result).toMatchObject({
    model_type: "llama",
    num_hidden_layers: 16,
    hidden_size: 128,
    num_key_value_heads: 2,
    tie_word_embeddings: true,
    parameters: 3_266_944,
    oddities: [],
  });
  expect(Object.keys(result.dtypes)).toEqual(["bfloat16"]);
});

it("trace gives the golden residuals and logits, zero at padding", async () => {
  const golden = join(data, "..", "golden");
  const { prompts } = JSON.parse(readFileSync(join(golden, "golden.json"), "utf8"));
  const ids: number[] = prompts[0].input_ids;
  const width = ids.length + 3;
  const padded = [...ids, 0, 0, 0, ...ids.slice(0, 5), ...new Array(width - 5).fill(0)];
  const mask = [ids.length, 5].flatMap((n) => Array.from({ length: width }, (_, i) => Number(i < n)));
  const int64 = (name: string, values: number[]) => ({
    name,
    dtype: "int64" as const,
    shape: [2, width],
    bytes: () => new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
  });
  await writeSafetensors(at("in.safetensors"), [int64("input_ids", padded), int64("attention_mask", mask)]);
  const { code } = await layerfold(
    "trace",
    checkpoint,
    "--input",
    at("in.safetensors"),
    "--out",
    at("trace.safetensors"),
    "--quiet",
  );
  expect(code).toBe(0);
  const trace = await openSafetensors(at("trace.safetensors"));
  const expected = await openSafetensors(join(golden, "golden.safetensors"));
  try {
    expect(trace.tensors.get("resid.16")?.shape).toEqual([2, width, 128]);
    const states = [...expected.tensors.keys()];
    const hidden = states.filter((name) => name.includes("hidden_states") || name.includes("hidden"));
    expect(hidden.length).toBeGreaterThan(0);
    const logits = (await trace.read("logits")).data;
    const wanted = (await expected.read(states.find((name) => /^(prompt)?\.?0.*logits/.test(name))!)).data;
    for (let i = 0; i < wanted.length; i++) expect(Math.abs(logits[i] - wanted[i])).toBeLessThan(2e-4);
    expect(logits.subarray(ids.length * 914, width * 914).every((v) => v === 0)).toBe(true);
    expect(logits.subarray((width + 5) * 914).every((v) => v === 0)).toBe(true);
  } finally {
    await trace.close();
    await expected.close();
  }
});

describe("the stages one by one", () => {
  it("capture, similarity, plan, merge and eval hand on to one another", async () => {
    const captured = await json(
      "capture",
      checkpoint,
      "--calibration",
      calibration,
      "--calibration-tokens",
      "4000",
      "--out",
      at("capture"),
    );
    expect(captured.result).toMatchObject({ layers: 16, hidden_size: 128 });

    const similarity = await json(
      "similarity",
      at("capture"),
      "--measure",
      "npib",
      "--set",
      "embedding.alpha=1",
      "--out",
      at("s.json"),
    );
    expect(similarity.result.embedding.options.alpha).toBe(1);
    expect(readdirSync(scratch)).toEqual(expect.arrayContaining(["s.json", "s.csv", "s.svg"]));
    for (let l = 0; l < 16; l++) expect(similarity.result.matrix[l][l]).toBe(1);
    const uncertain = await json(
      "similarity",
      at("capture"),
      ...["--measure", "linear-cka", "--permutations", "9", "--subsamples", "9", "--out", at("u.json")],
    );
    const { matrix, pValues, low, high } = uncertain.result;
    // Neighbours are alike beyond chance: 9 shuffles, none as high.
    expect(pValues[3][4]).toBe(0.1);
    expect([pValues[4][3], pValues[3][3]]).toEqual([0.1, null]);
    expect(low[3][4]).toBeLessThan(matrix[3][4]);
    expect(high[3][4]).toBeGreaterThan(matrix[3][4]);
    const blocks = await json(
      "similarity",
      at("capture"),
      ...["--measure", "linear-cka", "--block", "15", "--out", at("b.json")],
    );
    expect(blocks.result.blockSize).toBe(15);
    expect(blocks.result.values).toHaveLength(1);
    expect(blocks.result.values[0]).toBeCloseTo(matrix[0][15], 6);
    expect(readFileSync(at("b.csv"), "utf8")).toBe(
      `layer,later,similarity\n0,15,${blocks.result.values[0]}\n`,
    );

    const plan = await json(
      "plan",
      checkpoint,
      "--layers",
      "15",
      "--planner",
      "best-adjacent-pair",
      "--similarity",
      at("s.json"),
      "--out",
      at("plan.json"),
    );
    expect(plan.result.groups).toHaveLength(15);
    const byCapture = await json(
      "plan",
      checkpoint,
      "--layers",
      "12",
      "--planner",
      "lowest-influence",
      "--capture",
      at("capture"),
      "--out",
      at("drop.json"),
    );
    expect(byCapture.result.groups).toHaveLength(12);

    const merged = await json("merge", checkpoint, "--plan", at("plan.json"), "--out", at("folded"));
    expect(merged.code).toBe(0);
    expect(JSON.parse(readFileSync(at("folded/config.json"), "utf8")).num_hidden_layers).toBe(15);

    const evaluated = await json("eval", at("folded"), "--perplexity", validation, "--questions", questions);
    expect(evaluated.result.perplexity).toBeGreaterThan(1.9);
    expect(evaluated.result.count).toBe(50);

    const again = await json("merge", checkpoint, "--plan", at("plan.json"), "--out", at("folded"));
    expect(again.error.code).toBe("OUTPUT_EXISTS");
    expect(
      (await json("merge", checkpoint, "--plan", at("plan.json"), "--out", at("folded"), "--force")).code,
    ).toBe(0);
  });

  it("leave what it takes to repeat each of them", () => {
    const { model, ...captured } = manifest("capture/manifest.json");
    expect(model).toEqual({ name: "foldling", sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(captured).toMatchObject({ command: "capture", arguments: { calibrationTokens: 4000 }, seed: 0 });
    expect(captured.data.calibration).toMatchObject([{ name: "calibration.jsonl", share: 1 }]);
    expect(captured.arguments).not.toHaveProperty("out");
    const similarity = manifest("s.manifest.json");
    expect(similarity.data.capture.name).toBe("activations.json");
    expect(similarity.plugins).toMatchObject([
      { id: "npib" },
      { id: "diffusion-map", options: { alpha: 1 } },
    ]);
    expect(manifest("plan.manifest.json")).toMatchObject({
      ...{ command: "plan", model, data: { similarity: { name: "s.json" } } },
      plugins: [{ id: "best-adjacent-pair" }],
    });
    expect(manifest("drop.manifest.json").data.capture).toEqual(similarity.data.capture);
    expect(manifest("folded/manifest.json")).toMatchObject({
      ...{ command: "merge", model, plugins: [{ id: "weighted" }] },
      arguments: { plan: { num_hidden_layers: 16 } },
    });
  });

  it("capture takes parts of texts, and what the model makes up", async () => {
    const capture = (texts: string, out: string) =>
      json("capture", checkpoint, "--calibration", texts, "--calibration-tokens", "1100", "--out", at(out));
    const seen = (out: string) => JSON.parse(readFileSync(at(`${out}/activations.json`), "utf8")).calibration;
    const mixed = `${calibration}[0:30]:0.5,self:0.5`;
    const { result } = await capture(mixed, "mixed");
    expect(result.tokens).toBeGreaterThan(900);
    expect(manifest("mixed/manifest.json").data.calibration).toMatchObject([
      { range: "[0:30]", share: 0.5 },
      { name: "self", share: 0.5, tokens: 550 },
    ]);
    await capture(mixed, "mixed-again");
    expect(seen("mixed-again")).toBe(seen("mixed"));
    expect(seen("capture")).not.toBe(seen("mixed"));
  });

  it("another model's capture is refused", async () => {
    const { error } = await json(
      "plan",
      at("folded"),
      "--layers",
      "12",
      "--planner",
      "lowest-influence",
      "--capture",
      at("capture"),
      "--out",
      at("x.json"),
    );
    expect(error.code).toBe("CAPTURE_MISMATCH");
  });
});

describe("compress", () => {
  const args = [
    "compress",
    checkpoint,
    "--calibration",
    calibration,
    "--evaluate",
    validation,
    "--questions",
    questions,
  ];

  it("goes the whole way and puts the fold beside its drop control", async () => {
    const { code, result } = await json(
      ...args,
      "--layers",
      "14",
      "--method",
      "drop",
      "--out",
      at("compressed"),
    );
    expect(code).toBe(0);
    expect(result.rows.map((row: any) => [row.id, row.control])).toEqual([
      ["dense", null],
      ["drop-14", null],
      ["drop-14-control", "drop-14"],
    ]);
    const [dense, fold, control] = result.rows;
    expect(dense.perplexity).toBeCloseTo(1.943, 2);
    // Layers 10 and 11, as measured by transformers: 1.992 (models/foldling/measurements.json).
    expect(fold.removed_layers).toEqual([10, 11]);
    expect(Math.abs(fold.perplexity / 1.992 - 1)).toBeLessThan(0.005);
    // A drop is its own control.
    expect(control.perplexity).toBe(fold.perplexity);
    expect(fold.layer_ratio).toBe(0.125);
    expect(fold.parameter_ratio).toBeCloseTo((2 * 196_864) / 3_266_944, 3);
    expect(fold.kl_to_dense).toBeGreaterThan(0);
    for (const file of [
      "config.json",
      "model.safetensors",
      "results.json",
      "report.html",
      "manifest.json",
      "plan.json",
      "tokenizer.json",
    ]) {
      expect(readdirSync(at("compressed")), file).toContain(file);
    }
    const report = readFileSync(at("compressed/report.html"), "utf8");
    expect(report).not.toMatch(/(src|href)="https?:/);
    expect(manifest("compressed/manifest.json").data.calibration[0].sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it("refuses to judge on calibration text, unless it is told to", async () => {
    const same = [
      ...["compress", checkpoint, "--layers", "15", "--method", "drop"],
      ...["--evaluate", `${validation}[0:20]`, "--calibration", `${validation}[0:20]`],
    ];
    const { code, error } = await json(...same);
    expect(code).toBe(2);
    expect(error).toMatchObject({ code: "CALIBRATION_OVERLAPS", where: "validation.jsonl[0:20]" });
    const { result } = await json(...same, "--allow-overlap");
    expect(result.notes.join(" ")).toContain("100.0 % of its tokens");
    const other = await json(...same.slice(0, -1), `${validation}[20:40]`);
    expect(other.result.notes.join(" ")).toContain("New to it: validation.jsonl[0:20]");
  });

  it("repeats itself bit for bit", async () => {
    const run = async (name: string) => {
      await json(...args, "--layers", "14", "--method", "mka", "--max-tokens", "2000", "--out", at(name));
      return readFileSync(at(`${name}/model.safetensors`));
    };
    expect((await run("first")).equals(await run("second"))).toBe(true);
  });
});

it("generate gives the golden next token, greedily, and the same with the same seed", async () => {
  const { prompts } = JSON.parse(readFileSync(join(data, "..", "golden", "golden.json"), "utf8"));
  const run = (...args: string[]) =>
    json("generate", checkpoint, "--prompt", prompts[0].prompt, "--max-new-tokens", "4", ...args);
  expect((await run()).result.text.startsWith(prompts[0].greedy_next)).toBe(true);
  const warm = ["--temperature", "2", "--seed", "5"];
  expect((await run(...warm)).result.tokens).toEqual((await run(...warm)).result.tokens);
  expect((await run("--chat")).error.code).toBe("CHAT_TEMPLATE_MISSING");
});

it("generate ends at every token that generation_config.json names", async () => {
  const copy = at("many-ends");
  cpSync(checkpoint, copy, { recursive: true });
  const run = () => json("generate", copy, "--prompt", "Mara went to the mill.", "--max-new-tokens", "6");
  const { tokens } = (await run()).result;
  const file = join(copy, "generation_config.json");
  writeFileSync(file, JSON.stringify({ eos_token_id: [1, tokens[4]] }));
  expect((await run()).result.tokens).toEqual(tokens.slice(0, tokens.indexOf(tokens[4])));
  writeFileSync(file, JSON.stringify({ eos_token_id: "end" }));
  expect((await run()).error).toMatchObject({
    code: "CONFIG_INVALID",
    where: "generation_config.json, eos_token_id",
  });
});

it("generate refuses a prompt longer than the context, and says where the context is full", async () => {
  const copy = at("short-context");
  cpSync(checkpoint, copy, { recursive: true });
  const config = JSON.parse(readFileSync(join(copy, "config.json"), "utf8"));
  const args = ["generate", copy, "--prompt", "Mara went to the mill.", "--max-new-tokens", "5"];
  const { tokens, prompt_tokens } = (await json(...args)).result;
  expect(tokens).toHaveLength(5);
  const within = (context: number, ...more: string[]) => {
    writeFileSync(join(copy, "config.json"), JSON.stringify({ ...config, max_position_embeddings: context }));
    return layerfold(...args, "--json", ...more);
  };
  // The last token that is made has no place in the context, and needs none.
  const cut = await within(prompt_tokens + 2);
  expect(JSON.parse(cut.stdout).tokens).toEqual(tokens.slice(0, 3));
  expect(cut.stderr).toContain("CONTEXT_FULL");
  const whole = await within(prompt_tokens + 4);
  expect(JSON.parse(whole.stdout).tokens).toEqual(tokens);
  expect(whole.stderr).not.toContain("CONTEXT_FULL");
  const { code, stderr } = await within(prompt_tokens - 1, "--quiet");
  expect([code, JSON.parse(stderr).error]).toMatchObject([
    2,
    { code: "PROMPT_TOO_LONG", got: `${prompt_tokens}` },
  ]);
});

it("quantize writes files that eval measures and dequantize makes dense again", async () => {
  const quantized = await json("quantize", checkpoint, "--scheme", "rtn-w4g32", "--out", at("quantized"));
  expect(quantized.result.log).toHaveLength(16 * 7);
  expect(readdirSync(at("quantized"))).toContain("quantization-log.csv");
  expect(manifest("quantized/manifest.json")).toMatchObject({
    command: "quantize",
    arguments: { scheme: "rtn-w4g32" },
    plugins: [{ id: "rtn" }],
  });
  const evaluate = async (folder: string) =>
    (await json("eval", folder, "--perplexity", validation, "--max-tokens", "3000")).result.perplexity;
  const dense = await evaluate(checkpoint);
  const rounded = await evaluate(at("quantized"));
  expect(rounded).toBeGreaterThan(dense);
  expect(rounded / dense).toBeLessThan(1.1);
  expect((await json("dequantize", at("quantized"), "--dtype", "float32", "--out", at("dense"))).code).toBe(
    0,
  );
  expect(await evaluate(at("dense"))).toBeCloseTo(rounded, 6);
  expect(
    (await json("quantize", checkpoint, "--scheme", "rtn-w4g100", "--out", at("x"))).error.wanted,
  ).toContain("64");
  expect((await json("quantize", checkpoint, "--scheme", "best", "--out", at("x"))).error.code).toBe(
    "SCHEME_UNKNOWN",
  );
});

it("a repair goes through merge, and needs its calibration text", async () => {
  const plan = at("repair-plan.json");
  await json("plan", checkpoint, "--layers", "15", "--planner", "reverse", "--out", plan);
  const merge = ["merge", checkpoint, "--plan", plan, "--repair", "reconstruct", "--out", at("repaired")];
  expect((await json(...merge)).error.code).toBe("CALIBRATION_MISSING");
  const { result } = await json(...merge, "--calibration", calibration, "--calibration-tokens", "4000");
  const perplexityOf = async (folder: string) =>
    (await json("eval", folder, "--perplexity", validation, "--max-tokens", "3000")).result.perplexity;
  expect(result.parameterRatio).toBeGreaterThan(0);
  const { data: seen, plugins } = manifest("repaired/manifest.json");
  expect(seen.calibration[0].tokens).toBeGreaterThan(3000);
  expect(plugins.map(({ id }: any) => id)).toEqual(["weighted", "reconstruct"]);
  await json("merge", checkpoint, "--plan", plan, "--out", at("dropped"));
  // The last layer dropped costs foldling a third of its perplexity's logarithm; the refit must win most of it back.
  expect(await perplexityOf(at("repaired"))).toBeLessThan(await perplexityOf(at("dropped")));
});

it("import and pull refuse what they cannot read", async () => {
  writeFileSync(at("not.gguf"), "not a gguf file at all");
  expect((await json("import", at("not.gguf"), "--out", at("x"))).error.code).toMatch(/^GGUF_/);
  expect((await json("pull", "just-a-name")).error.code).toBe("HUB_NAME");
});

it("ablate measures identical folds once, and goes on where it stopped", async () => {
  const recipe = at("recipe.yaml");
  const grid = {
    ...{ model: checkpoint, calibration, evaluate: validation, maxTokens: 1500, calibrationTokens: 3000 },
    ...{
      measures: ["cosine", "random"],
      planners: ["last-first", "lowest-influence"],
      strategies: ["weighted", "drop"],
    },
    layers: [15],
  };
  writeFileSync(recipe, JSON.stringify(grid));
  const set = ["--set", "planner.similarityRefresh=pooled"];
  // The setting reaches one planner only: the other one knows no such option.
  expect((await json("ablate", recipe, "--out", at("grid"), ...set)).error.code).toBe("OPTION_UNKNOWN");
  const { result } = await json("ablate", recipe, "--out", at("grid"));
  // last-first under two measures, lowest-influence once; two strategies each. A drop plan is the same model under both strategies' names.
  expect(result.cells).toHaveLength(6);
  expect(result.distinct).toBeLessThanOrEqual(6);
  expect(result.tasks.found).toBe(0);
  const again = await json("ablate", recipe, "--out", at("grid"));
  // Nothing is made again: neither a plan nor a fold nor a figure.
  expect(again.result.tasks.made).toBe(0);
  expect(again.result.tasks.found).toBeGreaterThan(result.distinct);
  expect(again.result.cells).toEqual(result.cells);
  expect(readdirSync(at("grid"))).toEqual(
    expect.arrayContaining(["ablation.csv", "ablation.md", "ablation.json", "manifest.json", "report.html"]),
  );
  writeFileSync(recipe, JSON.stringify({ ...grid, planers: [] }));
  expect((await json("ablate", recipe, "--out", at("grid"))).error.code).toBe("RECIPE_INVALID");
});

it("ablate lets planners judge folds by the strategy and repair of each cell", async () => {
  const recipe = at("judging.yaml");
  const grid = {
    ...{ model: checkpoint, calibration, evaluate: validation, maxTokens: 1000, calibrationTokens: 1000 },
    ...{
      planners: ["best-partition", "threshold-walk"],
      strategies: ["weighted"],
      repairs: ["none", "channel-scale"],
    },
    layers: [15],
  };
  writeFileSync(recipe, JSON.stringify(grid));
  const { result } = await json("ablate", recipe, "--out", at("judging"));
  // Where nothing is repaired, best-partition has nothing to judge by.
  expect(result.cells.map(({ planner, repair }: any) => [planner, repair])).toEqual([
    ["best-partition", "channel-scale"],
    ["threshold-walk", null],
    ["threshold-walk", "channel-scale"],
  ]);
});

it("capture takes a user's own ONNX decoder, told where its residual stream is", async () => {
  // Two "blocks" x + f(x) with f(x) = x and f(x) = 2x: after them the stream is twice and six times the embedding.
  const graph = graphBuilder();
  const ids = graph.input("input_ids", "int64", ["batch", "sequence"]);
  const table = graph.constant(
    "float32",
    Float32Array.from({ length: 914 * 4 }, (_, i) => Math.floor(i / 4)),
    [914, 4],
  );
  const embedded = graph.node("Gather", [table, ids], { name: "embedded" });
  const times = (x: string, factor: number) => graph.node("Mul", [x, graph.constant("float32", factor)]);
  const first = graph.node("Add", [embedded, times(embedded, 1)], { name: "block.0" });
  const second = graph.node("Add", [first, times(first, 2)], { name: "block.1" });
  graph.output("logits", second, "float32", ["batch", "sequence", 4]);
  writeFileSync(at("decoder.onnx"), graph.build());
  const input = at("ids.safetensors");
  const bytes = () => new Uint8Array(BigInt64Array.from([5n, 7n]).buffer);
  await writeSafetensors(input, [{ name: "input_ids", dtype: "int64", shape: [1, 2], bytes }]);
  const args = [
    "capture",
    at("decoder.onnx"),
    "--input",
    input,
    "--tap",
    "block.{layer}",
    "--pooling",
    "all",
  ];
  const { result, error } = await json(...args, "--out", at("onnx-capture"));
  expect(error).toBeUndefined();
  expect(result).toMatchObject({ layers: 2, samples: 2, hidden_size: 4, tokens: 2 });
  const file = await openSafetensors(at("onnx-capture/activations.safetensors"));
  expect(Array.from((await file.read("layer.1")).data)).toEqual([30, 30, 30, 30, 42, 42, 42, 42]);
  await file.close();
});

it("plans without a text where neither text nor tokenizer is needed", async () => {
  const tiny = join(checkpoint, "../../../packages/graph/test/golden/architectures/llama");
  const { result } = await json(
    "plan",
    tiny,
    "--layers",
    "3",
    "--planner",
    "reverse",
    "--out",
    at("tiny.json"),
  );
  expect(result.groups).toHaveLength(3);
  const missing = await json("eval", tiny, "--perplexity", validation);
  expect(missing.error.code).toBe("TOKENIZER_MISSING");
});

it("eval takes several texts, parts of them, and public benchmarks", async () => {
  const rows = readFileSync(questions, "utf8").trim().split("\n");
  writeFileSync(at("arc.jsonl"), rows.slice(0, 30).join("\n"));
  const { result } = await json(
    ...["eval", checkpoint, "--text", `${validation}[0:20]`, "--text", `${validation}[20:30]`],
    ...["--task", `arc_easy:${at("arc.jsonl")}[10:20]`, "--task", `lambada:${validation}[0:5]`],
  );
  expect(result.texts.map(({ text, windows }: any) => [text, windows])).toEqual([
    ["validation.jsonl[0:20]", 20],
    ["validation.jsonl[20:30]", 10],
  ]);
  expect(result.perplexity).toBe(result.texts[0].perplexity);
  const both = (await json("eval", checkpoint, "--perplexity", `${validation}[0:30]`)).result;
  const sum = result.texts.reduce((total: number, text: any) => total + text.negativeLogLikelihood, 0);
  expect(both.negativeLogLikelihood).toBeCloseTo(sum, 1);
  expect(result.tasks).toMatchObject([
    { task: "arc_easy[10:20]", count: 10 },
    { task: "lambada[0:5]", count: 5, acc_norm: null },
  ]);
  expect(result.tasks[0].chosen.acc).toHaveLength(10);
  const unknown = await json("eval", checkpoint, "--task", `arc:${at("arc.jsonl")}`);
  expect(unknown.error).toMatchObject({ code: "TASK_UNKNOWN", wanted: expect.stringContaining("arc_easy") });
  expect((await json("eval", checkpoint, "--task", "arc_easy")).error.code).toBe("TEXT_SOURCE");
});

it("--dry-run shows the plan and its shares, and writes nothing", async () => {
  const plan = at("dry-plan.json");
  const planned = await json(
    ...["plan", checkpoint, "--layers", "12", "--planner", "reverse", "--out", plan, "--dry-run"],
  );
  // 4 of 16 equal blocks; parameters as inspect and the fold itself count them.
  expect(planned.result.layer_ratio).toBe(0.25);
  expect(planned.result.plan.groups).toHaveLength(12);
  const compressed = await json(
    ...["compress", checkpoint, "--layers", "12,10", "--method", "shortgpt", "--dry-run", "--out", at("dry")],
    ...["--calibration", calibration, "--calibration-tokens", "2000"],
  );
  expect(compressed.result.plans.map(({ layer_ratio }: any) => layer_ratio)).toEqual([0.25, 0.375]);
  expect(readdirSync(scratch).filter((name) => name.startsWith("dry"))).toEqual([]);

  writeFileSync(plan, JSON.stringify(planned.result.plan));
  const merge = ["merge", checkpoint, "--plan", plan, "--out", at("dry")];
  const { parameter_ratio } = (await json(...merge, "--dry-run")).result;
  expect(readdirSync(scratch)).not.toContain("dry");
  expect((await json(...merge)).result.parameterRatio).toBe(parameter_ratio);
  expect((await json("merge", checkpoint, "--plan", plan)).error.code).toBe("OUTPUT_MISSING");
});

it.each([
  ["no group for a layer", [[0, 1], [3]], 4, "PLAN_INVALID"],
  [
    "a layer that there is not",
    [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]],
    16,
    "PLAN_INVALID",
  ],
  [
    "a layer twice",
    [
      [0, 1],
      [1, 2, 3],
    ],
    4,
    "PLAN_INVALID",
  ],
  [
    "layers out of order",
    [
      [1, 0],
      [2, 3],
    ],
    4,
    "PLAN_INVALID",
  ],
  [
    "another model's layers",
    [
      [0, 1],
      [2, 3],
    ],
    4,
    "PLAN_MISMATCH",
  ],
])("merge refuses a plan with %s", async (_, groups, count, wanted) => {
  const plan = at("wrong-plan.json");
  const content = { version: 1, num_hidden_layers: count, groups: groups.map((layers) => ({ layers })) };
  writeFileSync(plan, JSON.stringify(content));
  for (const how of [["--dry-run"], ["--out", at("never")]]) {
    const { code, error } = await json("merge", checkpoint, "--plan", plan, ...how);
    expect(code).toBe(2);
    expect(error.code).toBe(wanted);
  }
  expect(readdirSync(scratch)).not.toContain("never");
});

it("takes other parts in a preset's stead, a plan of one's own among them", async () => {
  const plan = at("own-plan.json");
  const small = ["--calibration", `${calibration}[0:12]`];
  const judging = ["--planner", "best-partition", "--repair", "reconstruct", ...small];
  await json("plan", checkpoint, "--layers", "14", ...judging, "--out", plan);
  const { groups } = JSON.parse(readFileSync(plan, "utf8"));
  // Pairs, and none that holds layer 0.
  expect(groups[0].layers).toEqual([0]);
  expect(groups.filter(({ layers }: any) => layers.length === 2)).toHaveLength(2);

  const parts = ["--planner", plan, "--strategy", "weighted", "--repair", "none"];
  const { result } = await json("compress", checkpoint, "--layers", "14", ...parts, "--questions", questions);
  expect(result.rows[1]).toMatchObject({
    label: "layerfold+own-plan.json+weighted+none, 14 layers",
    planner: "given",
    strategy: "weighted",
    repair: null,
    num_hidden_layers: 14,
  });
  const other = await json("compress", checkpoint, "--layers", "12", ...parts);
  expect(other.error.code).toBe("PLAN_MISMATCH");
  const missing = await json("compress", checkpoint, "--layers", "14", "--planner", at("nowhere.json"));
  expect(missing.error.code).toBe("FILE_MISSING");
  // Nothing to judge folds with.
  const blind = await json(
    "plan",
    checkpoint,
    "--layers",
    "14",
    "--planner",
    "best-partition",
    ...small,
    "--dry-run",
  );
  expect(blind.error.code).toBe("EVIDENCE_MISSING");
});

it("finds out how much calibration text a repair needs", async () => {
  const plan = at("sized-plan.json");
  await json("plan", checkpoint, "--layers", "15", "--planner", "reverse", "--out", plan);
  const { result } = await json(
    ...["merge", checkpoint, "--plan", plan, "--repair", "channel-scale", "--out", at("sized")],
    ...["--calibration", `${calibration}[0:20]`, "--calibration-tokens", "auto"],
  );
  // The text ends before the first trial's 4,096 tokens.
  expect(result.calibration_trials).toHaveLength(1);
  const quantize = ["quantize", checkpoint, "--scheme", "rtn-w4g32", "--out", at("x")];
  expect((await json(...quantize, "--calibration-tokens", "auto")).code).toBe(2);
});
