import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, describe, expect, it } from "vitest";
import { json, layerfold } from "./run-command.js";

const scratch = mkdtempSync(join(tmpdir(), "layerfold-memory-"));
const at = (...path: string[]) => join(scratch, ...path);
afterAll(() => rmSync(scratch, { recursive: true }));

const validation = `${join(data, "validation.jsonl")}[0:20]`;
const calibration = `${join(data, "calibration.jsonl")}[0:20]`;
/** Between what foldling takes block by block and as a whole. */
const little = ["--memory", "360MiB"];

describe("a model that finds no room in memory", () => {
  const read = (name: string) => JSON.parse(readFileSync(at(name), "utf8"));

  it("is scored block by block, to the same figure, and one is told so", async () => {
    const evaluate = ["eval", checkpoint, "--perplexity", validation];
    const { stdout } = await layerfold(...evaluate, ...little);
    expect(stdout).toMatch(/^the model runs block by block: about 0\.3 GiB of the 0\.4 GiB that may be used/);
    const [whole, blocks] = [await json(...evaluate), await json(...evaluate, ...little)];
    expect(blocks.result.perplexity).not.toBe(whole.result.perplexity);
    expect(Math.abs(blocks.result.perplexity / whole.result.perplexity - 1)).toBeLessThan(1e-5);
  });

  it("is captured, compared, folded and measured, and its manifest runs again to the same bytes", async () => {
    const args = ["compress", checkpoint, "--layers", "14", "--method", "mka", "--calibration", calibration];
    const measured = ["--evaluate", validation];
    const whole = await json(...args, ...measured, "--out", at("whole"));
    const blocks = await json(...args, ...measured, ...little, "--out", at("blocks"));
    expect([whole.code, blocks.code]).toEqual([0, 0]);
    whole.result.rows.forEach((row: any, i: number) => {
      const found = blocks.result.rows[i];
      expect(found.id).toBe(row.id);
      expect(Math.abs(found.perplexity / row.perplexity - 1)).toBeLessThan(1e-5);
    });
    expect(read("whole/manifest.json").recipe.execution).toBeUndefined();
    expect(read("blocks/manifest.json").recipe.execution).toBe("blocks");
    const again = await json("run", at("blocks/manifest.json"), "--out", at("again"));
    expect(again.code).toBe(0);
    for (const name of ["results.json", "model.safetensors", "plan.json"]) {
      expect(readFileSync(at("again", name)).equals(readFileSync(at("blocks", name))), name).toBe(true);
    }
  });

  it("is refused with what it takes where not even one block fits, or where it was to make up text", async () => {
    const evaluate = ["eval", checkpoint, "--perplexity", validation];
    const none = await json(...evaluate, "--memory", "1MiB");
    expect(none).toMatchObject({ code: 1, error: { code: "MEMORY_TOO_SMALL", wanted: "about 0.3 GiB" } });
    const odd = await json(...evaluate, "--memory", "plenty");
    expect(odd).toMatchObject({ code: 2, error: { code: "MEMORY_INVALID", got: "plenty" } });
    const own = [
      "capture",
      checkpoint,
      "--calibration",
      "self",
      "--calibration-tokens",
      "64",
      "--out",
      at("own"),
    ];
    const self = await json(...own, ...little);
    expect(self).toMatchObject({ code: 1, error: { code: "MEMORY_TOO_SMALL", where: "--calibration self" } });
    const generate = await json("generate", checkpoint, "--prompt", "Once", ...little);
    expect(generate).toMatchObject({ code: 1, error: { code: "MEMORY_TOO_SMALL" } });
  });
});
