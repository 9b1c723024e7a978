import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dropPlan } from "@layerfold/core";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { json, layerfold } from "./run-command.js";

const scratch = mkdtempSync(join(tmpdir(), "layerfold-compare-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const gate = fileURLToPath(new URL("../../../examples/gate/", import.meta.url));
const questions = join(gate, "questions-test.yaml");
const documents = join(gate, "validation.yaml");
const folded = join(scratch, "folded");
const dense = join(scratch, "results-dense");
const less = join(scratch, "results-folded");

const evaluate = (model: string, tasks: string, out: string, ...more: string[]) =>
  json(
    "eval",
    model,
    "--tasks",
    tasks,
    "--data",
    data,
    "--limit",
    "12",
    "--out",
    out,
    "--log-samples",
    ...more,
  );

beforeAll(async () => {
  const plan = join(scratch, "plan.json");
  writeFileSync(plan, JSON.stringify(dropPlan(16, [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15])));
  expect((await json("merge", checkpoint, "--plan", plan, "--out", folded)).code).toBe(0);
  for (const [model, out] of [
    [checkpoint, dense],
    [folded, less],
  ]) {
    expect((await evaluate(model, `${questions},${documents}`, out)).code).toBe(0);
  }
});

describe("results", () => {
  it("are compared figure by figure, and the gate's verdict is the exit code", async () => {
    const out = join(scratch, "compared");
    const holds = await json("compare", dense, less, "--gate", "acc<=1, bits_per_byte<9x", "--out", out);
    expect(holds.error).toBeUndefined();
    expect(holds.code).toBe(0);
    const names = holds.result.figures.map(({ figure }: { figure: string }) => figure);
    expect(names).toEqual([
      "acc(questions-test)",
      "word_perplexity(validation)",
      "bits_per_byte(validation)",
    ]);
    const [acc, words, bits] = holds.result.figures;
    const [{ value, difference, answers, method }] = acc.others;
    expect(method).toBe("newcombe");
    expect(answers.both + answers.lost).toBe(Math.round(12 * acc.first));
    expect(answers.both + answers.gained).toBe(Math.round(12 * value));
    expect(difference.low).toBeLessThanOrEqual(difference.value);
    expect(words.others[0].ratio.low).toBeGreaterThan(1);
    // Bits per byte are the logarithm of the same sums.
    expect(bits.others[0].difference.low).toBeGreaterThan(0);
    expect(JSON.parse(readFileSync(join(out, "compare.json"), "utf8"))).toEqual(holds.result);
    expect(readFileSync(join(out, "compare.md"), "utf8")).toContain("## Gate: holds");
    expect(JSON.parse(readFileSync(join(out, "compare.manifest.json"), "utf8")).data.models).toHaveLength(2);

    const broken = await json(
      "compare",
      dense,
      less,
      "--gate",
      "acc<=1, bits_per_byte<1.0001x",
      "--out",
      out,
    );
    expect(broken.code).toBe(3);
    expect(broken.error).toMatchObject({
      code: "GATE_BROKEN",
      message: expect.stringContaining("1 of 2 conditions do not hold: folded: bits_per_byte<1.0001x is 1."),
    });
    expect(broken.result.gate.verdicts.map(({ passed }: { passed: boolean }) => passed)).toEqual([
      true,
      false,
    ]);
    // The same figures, whoever else is compared and whatever else is asked.
    const three = await json("compare", dense, dense, less, "--tasks", "validation");
    expect(three.code).toBe(0);
    expect(three.result.figures.map((one: any) => one.others[1])).toEqual(
      holds.result.figures.slice(1).map((one: any) => one.others[0]),
    );
    expect(three.result.figures[0].others[0].ratio).toEqual({ value: 1, low: 1, high: 1 });
    expect(new Set(three.result.models.map(({ name }: { name: string }) => name)).size).toBe(3);
  });

  it("that were not asked alike are refused, by the first document that differs", async () => {
    const refusal = async (other: string) => (await json("compare", dense, other)).error;
    const shorter = join(scratch, "results-shorter");
    await evaluate(checkpoint, `${questions},${documents}`, shorter, "--limit", "7");
    expect(await refusal(shorter)).toMatchObject({
      code: "DOCUMENTS_DIFFER",
      wanted: expect.stringMatching(/^document 7, as /),
      got: "none",
      where: expect.stringMatching(/questions-test, document 7$/),
    });
    const fewer = join(scratch, "results-fewer");
    await evaluate(checkpoint, questions, fewer);
    expect(await refusal(fewer)).toMatchObject({ code: "TASKS_DIFFER", got: "validation" });

    /** The dense model's results with something changed in a file. */
    const changed = (name: string, file: RegExp, from: RegExp | string, to: string) => {
      const folder = join(scratch, name);
      cpSync(dense, folder, { recursive: true });
      for (const path of filesOf(folder).filter((one) => file.test(one))) {
        const text = readFileSync(path, "utf8");
        expect(text.replace(from, to)).not.toBe(text);
        writeFileSync(path, text.replace(from, to));
      }
      return folder;
    };
    const samples = /samples_questions-test/;
    const results = /results_[^/]*(?<!manifest)\.json$/;
    for (const [hash, how] of [
      ["doc_hash", "other data"],
      ["prompt_hash", "other prompts or examples"],
      ["target_hash", "other answers"],
    ]) {
      const path = changed(hash, samples, new RegExp(`("doc_id":2,.*"${hash}":")..`, "s"), "$1zz");
      expect(await refusal(path)).toMatchObject({
        code: "DOCUMENTS_DIFFER",
        message: expect.stringContaining(how),
        where: expect.stringMatching(/document \d+$/),
      });
    }
    expect(
      await refusal(changed("shots", results, '"questions-test": 0', '"questions-test": 5')),
    ).toMatchObject({
      code: "DOCUMENTS_DIFFER",
      message: expect.stringContaining("other few-shot"),
    });
    expect(
      await refusal(changed("figure", results, /"acc,none": [\d.]+/, '"acc,none": 0.123')),
    ).toMatchObject({
      code: "RESULTS_INCONSISTENT",
      wanted: "0.123",
    });
    expect(await refusal(changed("number", samples, /"acc":[01]/, '"acc":"yes"'))).toMatchObject({
      code: "RESULTS_INVALID",
      got: '"yes"',
    });
    expect(await refusal(changed("broken", samples, /\}\n$/, "\n"))).toMatchObject({
      code: "RESULTS_INVALID",
      where: expect.stringMatching(/line 12$/),
    });
    const bare = changed("bare", results, '"results"', '"figures"');
    expect(await refusal(bare)).toMatchObject({ code: "RESULTS_INVALID" });
  });

  it("that are not there, or not alone, are named", async () => {
    const empty = join(scratch, "empty");
    mkdirSync(empty);
    expect((await json("compare", dense, empty)).error).toMatchObject({
      code: "RESULTS_MISSING",
      where: empty,
    });
    expect((await json("compare", dense, join(scratch, "nowhere"))).error.code).toBe("FILE_MISSING");
    const several = join(scratch, "several");
    for (const from of [dense, less]) cpSync(from, several, { recursive: true });
    expect((await json("compare", dense, several)).error).toMatchObject({
      code: "RESULTS_SEVERAL",
      wanted: "one of folded, foldling",
    });
    const without = join(scratch, "without");
    await json("eval", checkpoint, "--tasks", questions, "--data", data, "--limit", "2", "--out", without);
    expect((await json("compare", without, without)).error).toMatchObject({ code: "SAMPLES_MISSING" });
    expect((await json("compare", dense, less, "--tasks", "questions-tst")).error).toMatchObject({
      code: "RESULTS_MISSING",
      message: expect.stringContaining('Did you mean "questions-test"?'),
    });
    expect((await json("compare", dense)).error).toMatchObject({ code: "NOTHING_TO_COMPARE" });
    expect((await json("compare", dense, less, "--limit", "5")).error).toMatchObject({
      code: "MODEL_NEEDED",
      got: "limit 5",
    });
    expect((await json("compare", dense, less, "--prompt", "Mara")).error).toMatchObject({
      code: "MODEL_NEEDED",
    });
  });
});

it("the gate of the example for GitHub Actions lets a model through, and not one that has lost a quarter of its layers", async () => {
  const workflow = readFileSync(join(gate, "workflow.yaml"), "utf8");
  const [, conditions] = /--gate "([^"]+)"/.exec(workflow)!;
  expect((await json("compare", dense, dense, "--gate", conditions)).code).toBe(0);
  expect((await json("compare", dense, less, "--gate", conditions)).code).toBe(3);
});

describe("checkpoints", () => {
  it("are measured first, on tasks, texts and prompts", async () => {
    const text = `${join(data, "validation.jsonl")}[0:8]`;
    const asked = ["--tasks", questions, "--data", data, "--limit", "12", "--max-new-tokens", "8"];
    const out = join(scratch, "measured");
    const { result, code } = await json(
      "compare",
      checkpoint,
      folded,
      ...asked,
      "--text",
      text,
      "--out",
      out,
    );
    expect(code).toBe(0);
    const [acc, perplexity, divergence, agreement] = result.figures;
    const stored = (await json("compare", dense, less)).result.figures;
    expect(acc).toEqual(stored[0]);
    expect(perplexity.figure).toBe("perplexity(validation.jsonl[0:8])");
    const alone = (await json("eval", checkpoint, "--perplexity", text)).result;
    expect(perplexity.first).toBeCloseTo(alone.perplexity, 5);
    expect(perplexity.others[0].ratio.low).toBeGreaterThan(1);
    expect(divergence).toMatchObject({ metric: "kl_divergence", first: null });
    expect(divergence.others[0].value).toBeGreaterThan(0);
    expect(agreement.others[0].value).toBeGreaterThan(0.3);
    expect(agreement.others[0].value).toBeLessThan(1);
    expect(result.generations).toHaveLength(3);
    const [{ prompt, continuations }] = result.generations;
    const { result: generated } = await json(
      "generate",
      checkpoint,
      "--prompt",
      prompt,
      "--max-new-tokens",
      "8",
    );
    expect(continuations[0]).toBe(generated.text);
    expect(readFileSync(join(out, "compare.md"), "utf8")).toContain("## Generated");

    // Results that were kept against a checkpoint that is measured now.
    const mixed = await json("compare", dense, folded, ...asked);
    expect(mixed.result.figures).toEqual([stored[0]]);
    expect(mixed.result.models.map(({ kind }: { kind: string }) => kind)).toEqual(["results", "checkpoint"]);
  });

  it("are not measured for a gate that speaks of something else", async () => {
    const text = join(data, "validation.jsonl");
    const refusal = async (condition: string, ...given: string[]) =>
      (await json("compare", checkpoint, folded, "--gate", condition, ...given)).error;
    const asked = ["--tasks", questions, "--data", data, "--text", text];
    expect(await refusal("acc(question-test)>0.9x", ...asked)).toMatchObject({
      code: "GATE_UNKNOWN",
      message: expect.stringContaining('Did you mean "acc(questions-test)"?'),
    });
    expect(await refusal("kl_divergence<1.1x", ...asked)).toMatchObject({ code: "GATE_INVALID" });
    expect(await refusal("perplexity<1.1y", ...asked)).toMatchObject({
      code: "GATE_INVALID",
      got: '"y"',
      where: "--gate, character 15",
    });
    expect(await refusal("acc>1")).toMatchObject({ code: "NOTHING_TO_COMPARE" });
    expect(await refusal("acc>1", "--tasks", questions)).toMatchObject({ code: "DATA_MISSING" });
  });

  it("that read a text as other tokens are refused", async () => {
    const other = join(scratch, "other-tokens");
    cpSync(checkpoint, other, { recursive: true });
    const tokenizer = JSON.parse(readFileSync(join(other, "tokenizer.json"), "utf8"));
    tokenizer.model.merges = tokenizer.model.merges.slice(0, 50);
    writeFileSync(join(other, "tokenizer.json"), JSON.stringify(tokenizer));
    const text = `${join(data, "validation.jsonl")}[0:8]`;
    expect((await json("compare", checkpoint, other, "--text", text)).error).toMatchObject({
      code: "TOKENS_DIFFER",
    });
  });
});

it("prints Markdown", async () => {
  const { stdout, code } = await layerfold("compare", dense, less, "--quiet");
  expect([stdout, code]).toEqual(["", 0]);
  const printed = await layerfold("compare", dense, less, "--gate", "acc>2");
  expect(printed.code).toBe(3);
  expect(printed.stdout).toMatch(/^# folded against foldling\n\n## Gate: broken\n/);
  expect(printed.stderr).toMatch(
    /^error GATE_BROKEN: 1 of 1 conditions do not hold: folded: acc>2 is 0\.\d+\n$/m,
  );
});

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
}
