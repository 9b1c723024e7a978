import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@layerfold/checkpoint";
import { dropPlan } from "@layerfold/core";
import { checkpoint, data } from "@layerfold/foldling";
import { writeTinyLlama } from "@layerfold/testkit";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { json, layerfold } from "./run-command.js";

let scratch: string;
const at = (...path: string[]) => join(scratch, ...path);
const textOf = (...path: string[]) => readFileSync(at(...path), "utf8");

beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "layerfold-outputs-"));
  await writeTinyLlama(at("model"));
  writeFileSync(at("plan.json"), JSON.stringify(dropPlan(4, [1])));
  const bytes = () => new Uint8Array(BigInt64Array.from([5n, 7n, 9n]).buffer);
  await writeSafetensors(at("ids.safetensors"), [
    { name: "input_ids", dtype: "int64", shape: [1, 3], bytes },
  ]);
});
afterEach(() => rmSync(scratch, { recursive: true }));

/** Every command that writes, with the rest of its arguments. */
const commands = {
  merge: () => ["merge", at("model"), "--plan", at("plan.json"), "--force"],
  quantize: () => ["quantize", at("model"), "--scheme", "rtn-w4g16", "--force"],
  dequantize: () => ["dequantize", at("model"), "--force"],
  export: () => ["export", at("model"), "--force"],
  capture: () => ["capture", at("model"), "--input", at("ids.safetensors"), "--force"],
  compress: () => ["compress", at("model"), "--layers", "3", "--method", "drop", "--force"],
  plan: () => ["plan", at("model"), "--layers", "3", "--planner", "reverse"],
  trace: () => ["trace", at("model"), "--input", at("ids.safetensors")],
};

describe.each(Object.entries(commands))("%s", (_, args) => {
  it("writes nowhere where its model would suffer", async () => {
    const before = readFileSync(at("model", "model.safetensors"));
    symlinkSync("model", at("link"));
    for (const out of [
      at("model"),
      at("link"),
      at("model", "new"),
      at("model", "model.safetensors"),
      scratch,
    ]) {
      const { code, error } = await json(...args(), "--out", out);
      expect([code, error.where]).toEqual([2, out]);
      expect(["OUTPUT_OVERLAPS_INPUT", "FILE_IS_FOLDER", "FILE_NOT_FOLDER"]).toContain(error.code);
    }
    expect(readFileSync(at("model", "model.safetensors"))).toEqual(before);
    expect(readdirSync(at("model")).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(readdirSync(scratch).sort()).toEqual(["ids.safetensors", "link", "model", "plan.json"]);
  });

  it("replaces nothing that it did not write", async () => {
    mkdirSync(at("work", ".git"), { recursive: true });
    for (const name of ["config.json", "manifest.json", "thesis.tex", "plan.json"]) {
      writeFileSync(at("work", name), "{}");
    }
    const folder = !["plan", "trace"].includes(args()[0]);
    const { code, error } = await json(...args(), "--out", folder ? at("work") : at("work", "plan.json"));
    expect([code, error.code]).toEqual([2, "OUTPUT_EXISTS"]);
    const names = [".git", "config.json", "manifest.json", "plan.json", "thesis.tex"];
    expect(readdirSync(at("work")).sort()).toEqual(names);
    expect(textOf("work", "plan.json")).toBe("{}");
  });
});

it.each(["merge", "quantize", "export", "capture"] as const)(
  "%s --force replaces what it wrote, follows a link to it, and leaves no other name behind",
  async (name) => {
    expect((await layerfold(...commands[name](), "--out", at("out"))).code).toBe(0);
    symlinkSync("out", at("link"));
    expect((await layerfold(...commands[name](), "--out", at("link"))).code).toBe(0);
    const names = ["ids.safetensors", "link", "model", "out", "plan.json"];
    expect(readdirSync(scratch).sort()).toEqual(names);
    writeFileSync(at("out", "thesis.tex"), "years of work");
    const { error } = await json(...commands[name](), "--out", at("out"));
    expect([error.code, error.got]).toEqual(["OUTPUT_EXISTS", "thesis.tex"]);
    expect(textOf("out", "thesis.tex")).toBe("years of work");
  },
);

it("refuses the working folder before any work", async () => {
  mkdirSync(at("here"));
  const cwd = vi.spyOn(process, "cwd").mockReturnValue(at("here"));
  try {
    const { code, error } = await json(...commands.merge(), "--out", at("here"));
    expect([code, error.code]).toEqual([2, "OUTPUT_IN_USE"]);
  } finally {
    cwd.mockRestore();
  }
});

describe("files", () => {
  const out = () => at("out.json");
  const plan = (...more: string[]) => json(...commands.plan(), "--out", out(), ...more);

  it("are written again where they stand as they were written, and not where a person changed them", async () => {
    await plan();
    const manifest = textOf("out.manifest.json");
    expect((await plan()).code).toBe(0);
    expect(textOf("out.manifest.json")).toBe(manifest);
    expect(JSON.parse(manifest).files).toHaveLength(1);
    // Another plan takes the place of one of ours, and the manifest then knows the new one alone.
    expect((await plan("--layers", "2")).code).toBe(0);
    expect(JSON.parse(textOf("out.manifest.json")).files).toHaveLength(1);
    expect(JSON.parse(textOf("out.json")).groups).toHaveLength(2);
    writeFileSync(out(), `${textOf("out.json")} `);
    expect((await plan()).error).toMatchObject({ code: "OUTPUT_EXISTS", where: out() });
  });

  it("are not written where another command's manifest stands", async () => {
    await plan();
    const { error } = await json(...commands.trace(), "--out", at("out.safetensors"));
    expect(error).toMatchObject({ code: "OUTPUT_EXISTS", where: at("out.manifest.json") });
    expect(existsSync(at("out.safetensors"))).toBe(false);
  });

  it("of an earlier version are known by the manifest beside them", async () => {
    writeFileSync(out(), "{}");
    writeFileSync(at("out.manifest.json"), JSON.stringify({ layerfold: "0.1.0", command: "plan" }));
    expect((await plan()).code).toBe(0);
  });
});

it("ablate writes over no report of others", async () => {
  cpSync(checkpoint, at("foldling"), { recursive: true });
  const recipe = {
    model: "foldling",
    calibration: join(data, "calibration.jsonl"),
    planners: ["reverse"],
    layers: [15],
  };
  writeFileSync(at("recipe.yaml"), JSON.stringify(recipe));
  mkdirSync(at("out"));
  writeFileSync(at("out", "report.html"), "a report of mine");
  const { code, error } = await json("ablate", at("recipe.yaml"), "--out", at("out"));
  expect([code, error.code, error.where]).toEqual([2, "OUTPUT_EXISTS", at("out", "report.html")]);
  expect(textOf("out", "report.html")).toBe("a report of mine");
  const inside = await json("ablate", at("recipe.yaml"), "--out", at("foldling", "grid"));
  expect(inside.error.code).toBe("OUTPUT_OVERLAPS_INPUT");
});

describe("disks", () => {
  const onDisk = async (options: string, test: (disk: string) => Promise<void>) => {
    const disk = at("disk");
    mkdirSync(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", disk], { stdio: "ignore" });
    } catch {
      console.warn(`no disk of ${options} can be mounted here: its test is skipped`);
      return false;
    }
    try {
      await test(disk);
    } finally {
      execFileSync("umount", [disk]);
    }
    return true;
  };

  it("that are full end a command in one coded line, and keep nothing half-written", async (context) => {
    // The model has 4 layers of 32 channels: 0.1 MB.
    const ran = await onDisk("size=64k", async (disk) => {
      for (const name of ["merge", "export", "capture", "quantize", "trace"] as const) {
        writeFileSync(join(disk, "full"), new Uint8Array(60_000));
        const { code, error } = await json(...commands[name](), "--out", join(disk, "out"));
        expect([name, code, error.code]).toEqual([name, 1, "DISK_FULL"]);
        expect(error.where).toMatch(/disk\/out[\w./]*$/);
        expect(readdirSync(disk)).toEqual(["full"]);
      }
    });
    if (!ran) context.skip();
  });

  it("that can only be read are called so, before any work", async (context) => {
    const ran = await onDisk("ro", async (disk) => {
      for (const args of Object.values(commands)) {
        const { code, error } = await json(...args(), "--out", join(disk, "a", "out"));
        expect([args()[0], code, error.code]).toEqual([args()[0], 1, "DISK_READ_ONLY"]);
      }
    });
    if (!ran) context.skip();
  });
});

it("an error that nobody foresaw leaves as one line, with its stack in a file", async () => {
  const fails = () => {
    vi.spyOn(JSON, "stringify").mockImplementationOnce(() => {
      throw new TypeError("first\nsecond");
    });
    return ["plan", at("model"), "--layers", "3", "--planner", "reverse", "--out", at("out.json")];
  };
  const { code, stderr } = await layerfold(...fails());
  expect(code).toBe(1);
  const [, file] =
    /^error INTERNAL: TypeError: first\\nsecond \(report at https:\/\/\S+, stack in (\S+)\)\n$/.exec(stderr)!;
  expect(readFileSync(file, "utf8")).toContain("outputs.test.ts");
  rmSync(file);
  const asJson = await json(...fails());
  expect([asJson.code, asJson.error.code]).toEqual([1, "INTERNAL"]);
  rmSync(/stack in (\S+)\)$/.exec(asJson.error.message)![1]);
  vi.restoreAllMocks();
});
