import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeScheme } from "./make-scheme.js";
import { parseSettings } from "./settings.js";
import { schemeOfReference, schemeReference } from "./tasks/scheme-reference.js";

let folder: string;
let mine: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-scheme-"));
  mine = join(folder, "mine.mjs");
  const text =
    'export default (options) => ({ kind: "quantizer", id: "mine", options, needs: ["gram"], quantize() {} });';
  await writeFile(mine, text);
});
afterAll(() => rm(folder, { recursive: true }));

const made = (name: string, ...set: string[]) =>
  makeScheme(name, { dtype: "bfloat16" }, undefined, { settings: parseSettings(set) });

it("makes a scheme of a quantizer of one's own, behind transforms if any", async () => {
  const alone = await made(mine, "quantizer.bits=3");
  expect(alone).toMatchObject({
    name: "mine",
    transforms: [],
    format: "compressed-tensors",
    trueSequential: true,
  });
  expect(alone.quantizer.options).toEqual({ bits: 3 });
  const behind = await made(`smoothquant,${mine}`, "transform.strength=0.7");
  expect(behind.name).toBe("smoothquant-mine");
  expect(behind.transforms[0].options).toMatchObject({ strength: 0.7 });
  const builtIn = await made("awq,rtn", "transform.clip=false", "quantizer.bits=8");
  expect(builtIn).toMatchObject({
    name: "awq-rtn",
    trueSequential: false,
    quantizer: { options: { bits: 8 } },
  });
});

it("refuses what is no quantizer", async () => {
  await expect(made("smoothquant,gptp")).rejects.toMatchObject({
    code: "PLUGIN_UNKNOWN",
    message: expect.stringContaining('Did you mean "gptq"?'),
  });
  await expect(made(`${mine},rtn`)).rejects.toMatchObject({ code: "PLUGIN_MODULE", got: 'kind "quantizer"' });
  await expect(made("gptp-w4")).rejects.toMatchObject({ code: "SCHEME_UNKNOWN" });
});

it("comes back from what a task knows of it", async () => {
  for (const name of ["gptq-awq-w4g64", "smoothquant-w8a8", "fp8", mine]) {
    const scheme = await made(name);
    const reference = JSON.parse(JSON.stringify(schemeReference(scheme)));
    const { transforms, quantizer, ...facts } = schemeOfReference(reference);
    expect(facts).toEqual({
      name: scheme.name,
      format: scheme.format,
      quantizedActivations: scheme.quantizedActivations,
      trueSequential: scheme.trueSequential,
    });
    for (const [i, plugin] of [...transforms, quantizer].entries()) {
      const { id, options } = [...scheme.transforms, scheme.quantizer][i];
      expect(plugin).toMatchObject({ id, options });
    }
  }
});
