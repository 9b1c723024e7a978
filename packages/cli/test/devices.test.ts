import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, expect, it } from "vitest";
import { json, layerfold } from "./run-command.js";
import { startLayerfold } from "./start-layerfold.js";

const scratch = mkdtempSync(join(tmpdir(), "layerfold-devices-"));
afterAll(() => rmSync(scratch, { recursive: true }));

it("every command that runs a model takes a device, and no other does", async () => {
  const running = [
    ...["demo", "compress", "trace", "capture", "plan", "merge", "eval", "ablate", "run", "generate"],
    ...["quantize", "compare"],
  ];
  const { stdout } = await layerfold("--help");
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name);
  const taking: string[] = [];
  for (const name of commands) {
    const help = await layerfold(name, "--help");
    if (help.stdout.includes("--device <name>")) taking.push(name);
  }
  expect(taking.sort()).toEqual(running.sort());
});

it("refuses a device that it does not know, with those that it does", async () => {
  const { code, stderr } = await layerfold("eval", checkpoint, "--device", "gpu");
  expect(code).toBe(2);
  expect(stderr).toContain("cpu, webgpu, cuda");

  const recipe = join(scratch, "recipe.yaml");
  const lines = [
    `model: ${checkpoint}`,
    "methods: [drop]",
    "layers: [15]",
    "device: metal",
    `calibration: ${join(data, "calibration.jsonl")}`,
  ];
  writeFileSync(recipe, lines.join("\n"));
  const { code: refused, error } = await json("run", recipe);
  expect(refused).toBe(2);
  expect(error).toMatchObject({ code: "RECIPE_INVALID", where: expect.stringContaining("recipe.yaml:4") });
  expect(error.message).toContain("webgpu");
});

it.skipIf(process.platform !== "linux")("says in one line that there is no adapter", async () => {
  const before = process.env.VK_ICD_FILENAMES;
  process.env.VK_ICD_FILENAMES = join(scratch, "nowhere.json");
  process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES;
  try {
    const out = join(scratch, "activations");
    const { ended } = startLayerfold(
      ...["capture", checkpoint, "--calibration", `${join(data, "calibration.jsonl")}[0:2]`],
      ...["--device", "webgpu", "--out", out, "--quiet"],
    );
    const { code, stderr } = await ended;
    expect(code).toBe(1);
    const lines = stderr.trim().split("\n");
    expect(JSON.parse(lines.join("")).error).toMatchObject({
      code: "DEVICE_UNAVAILABLE",
      wanted: expect.stringContaining("Vulkan"),
    });
    expect(() => readFileSync(join(out, "activations.json"))).toThrow("ENOENT");
  } finally {
    if (before === undefined) delete process.env.VK_ICD_FILENAMES;
    else process.env.VK_ICD_FILENAMES = before;
  }
});
