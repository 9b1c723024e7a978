import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "@layerfold/checkpoint";
import { dropPlan } from "@layerfold/core";
import { checkpoint } from "@layerfold/foldling";
import { afterAll, describe, expect, it } from "vitest";
import { json } from "./run-command.js";

// transformers 5.18 on torch 2.13: logits of each tiny model with some layers dropped (its metadata names them).
const golden = fileURLToPath(new URL("../../graph/test/golden/", import.meta.url));
const architectures = join(golden, "architectures");
// That of variants/ is made by dropped.py with transformers 5.24 on torch 2.15.
const families = ["architectures", "variants"]
  .flatMap((kind) => readdirSync(join(golden, kind)).map((name) => join(kind, name)))
  .filter((name) => existsSync(join(golden, name, "expected_drop.safetensors")));
const scratch = mkdtempSync(join(tmpdir(), "layerfold-families-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe.each(families)("%s", (name) => {
  const model = join(golden, name);
  const family = basename(name);

  it("with layers dropped, written and re-opened, gives transformers' logits", async () => {
    const expected = await openSafetensors(join(model, "expected_drop.safetensors"));
    try {
      const dropped: number[] = JSON.parse(expected.metadata.dropped);
      const { result: facts } = await json("inspect", model);
      const kept = Array.from({ length: facts.num_hidden_layers }, (_, l) => l).filter(
        (l) => !dropped.includes(l),
      );
      const plan = join(scratch, `${family}.json`);
      writeFileSync(plan, JSON.stringify(dropPlan(facts.num_hidden_layers, kept)));
      const folder = join(scratch, family);
      expect((await json("merge", model, "--plan", plan, "--out", folder)).error).toBeUndefined();
      const traced = join(scratch, `${family}.safetensors`);
      await json("trace", folder, "--input", join(model, "expected.safetensors"), "--out", traced);
      const trace = await openSafetensors(traced);
      try {
        const got = (await trace.read("logits")).data;
        const wanted = (await expected.read("logits")).data;
        const real = await openSafetensors(join(model, "expected.safetensors"));
        const mask = new BigInt64Array((await real.readBytes("attention_mask")).slice().buffer);
        await real.close();
        const width = got.length / mask.length;
        expect(wanted.length).toBe(got.length);
        let largest = 0;
        for (let i = 0; i < got.length; i++) {
          if (mask[Math.floor(i / width)] === 0n) continue;
          largest = Math.max(largest, Math.abs(got[i] - wanted[i]));
        }
        expect(largest).toBeLessThanOrEqual(2e-4);
        expect(trace.tensors.has(`resid.${kept.length}`)).toBe(true);
      } finally {
        await trace.close();
      }
    } finally {
      await expected.close();
    }
  });
});

it.each(["mixtral", "jamba"])(
  "the similarity matrix of %s comes out of the same commands",
  async (family) => {
    const model = join(architectures, family);
    const capture = join(scratch, `${family}-capture`);
    const input = join(model, "expected.safetensors");
    const captured = await json("capture", model, "--input", input, "--pooling", "all", "--out", capture);
    expect(captured.error).toBeUndefined();
    const matrix = join(scratch, `${family}-similarity.json`);
    const { result } = await json("similarity", capture, "--measure", "npib", "--out", matrix);
    expect(result.matrix.length).toBe(captured.result.layers);
    result.matrix.forEach((row: number[], l: number) => {
      expect(row[l]).toBe(1);
      expect(row.every((v) => v >= 0 && v <= 1)).toBe(true);
    });
  },
);

describe("a repair that a family's blocks refuse", () => {
  const model = join(scratch, "olmo2-with-tokenizer");
  const refusal = async (...args: string[]) => {
    cpSync(join(architectures, "olmo2"), model, { recursive: true });
    cpSync(join(checkpoint, "tokenizer.json"), join(model, "tokenizer.json"));
    return (await json(...args, "--repair", "component-fold")).error;
  };
  const refused = { code: "REPAIR_UNSUPPORTED", where: "layers 1 to 2 (full_attention+rope+mlp)" };
  const working = "--repair magnitude | searched-weights";

  it("is found before a plan is made, and the error names what would do", async () => {
    expect(
      await refusal(
        "plan",
        model,
        "--layers",
        "2",
        "--planner",
        "best-partition",
        "--out",
        join(scratch, "p"),
      ),
    ).toMatchObject({ ...refused, wanted: working });
    // No text is read either.
    const text = ["--calibration", join(scratch, "nowhere.jsonl")];
    const compressed = await refusal(
      "compress",
      model,
      "--layers",
      "2",
      ...text,
      "--out",
      join(scratch, "c"),
    );
    expect(compressed).toMatchObject(refused);
    expect(compressed.wanted).toMatch(
      /^--method mka .*\| drop \|.*, or --repair .*searched-weights \| none$/,
    );
    expect(compressed.wanted).not.toContain("layerfold");
  });

  it("is found by a merge, by what its plan asks for", async () => {
    const plan = join(scratch, "olmo2-plan.json");
    writeFileSync(plan, JSON.stringify(dropPlan(5, [0, 1, 3, 4])));
    expect(await refusal("merge", model, "--plan", plan, "--dry-run")).toMatchObject(refused);
  });
});
