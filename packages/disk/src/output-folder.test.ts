import { mkdir, mkdtemp, readdir, readFile, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountedDisk } from "@layerfold/testkit";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { addMadeFile, madeFilesName } from "./made-files.js";
import { checkOutputFolder, type OutputRules, putFolder, writeFolder } from "./output-folder.js";

let folder: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "output-folder-"));
  out = join(folder, "out");
});
afterEach(() => rm(folder, { recursive: true }));

const write = (content: string, rules: OutputRules = {}) =>
  writeFolder(out, rules, async (into) => {
    await mkdir(join(into, "deep"));
    await writeFile(join(into, "deep", "weights"), content);
  });
const weights = () => readFile(join(out, "deep", "weights"), "utf8");
const force = { force: true };

describe("writeFolder", () => {
  it("replaces with force what it made, and nothing without", async () => {
    await mkdir(out);
    await write("first");
    await expect(write("second")).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await weights()).toBe("first");
    await write("second", force);
    expect(await weights()).toBe("second");
    expect(await readdir(folder)).toEqual(["out"]);
  });

  it("refuses, even with force, a folder with anything else in it, and names it", async () => {
    await write("ours");
    await mkdir(join(out, ".git", "objects"), { recursive: true });
    await writeFile(join(out, "thesis.tex"), "years of work");
    await writeFile(join(out, "deep", "notes.txt"), "");
    await expect(write("new", force)).rejects.toMatchObject({
      code: "OUTPUT_EXISTS",
      got: ".git, deep/notes.txt, thesis.tex",
      where: out,
    });
    expect([await weights(), await readFile(join(out, "thesis.tex"), "utf8")]).toEqual([
      "ours",
      "years of work",
    ]);
    expect(await readdir(folder)).toEqual(["out"]);
  });

  it("refuses a folder of others though it holds a config.json, and a list that is none", async () => {
    await mkdir(out);
    await writeFile(join(out, "config.json"), "{}");
    await writeFile(join(out, madeFilesName), "config.json");
    await expect(checkOutputFolder(out, force)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  });

  it("asks again when all is done: what came in the meantime is not replaced", async () => {
    await write("ours");
    const late = writeFolder(out, force, (into) =>
      Promise.all([writeFile(join(into, "a"), ""), writeFile(join(out, "letter"), "")]),
    );
    await expect(late).rejects.toMatchObject({ code: "OUTPUT_EXISTS", got: "letter" });
    expect(await weights()).toBe("ours");
    expect(await readdir(folder)).toEqual(["out"]);
  });

  it("lists files that are added later, and replaces none of others", async () => {
    await write("ours");
    await addMadeFile(out, "log.csv", "1");
    await addMadeFile(out, "log.csv", "2");
    await write("new", force);
    await writeFile(join(out, "log.csv"), "of others");
    await expect(addMadeFile(out, "log.csv", "3")).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await readFile(join(out, "log.csv"), "utf8")).toBe("of others");
  });

  it("follows a symbolic link", async () => {
    await write("first");
    await symlink("out", join(folder, "link"));
    const target = await checkOutputFolder(join(folder, "link"), force);
    expect(target).toBe(await checkOutputFolder(out, force));
    await writeFolder(join(folder, "link"), force, (into) => writeFile(join(into, "new"), ""));
    expect((await readdir(out)).sort()).toEqual([madeFilesName, "new"]);
    await unlink(join(folder, "link"));
  });

  it("leaves the old folder and nothing else when filling fails", async () => {
    await write("old");
    const failing = writeFolder(out, force, () => Promise.reject(new RangeError("no more")));
    await expect(failing).rejects.toThrow(RangeError);
    expect([await weights(), await readdir(folder)]).toEqual(["old", ["out"]]);
  });

  it("says that the disk is full, and leaves nothing", async (context) => {
    const disk = mountedDisk("size=1m");
    if (!disk) return context.skip();
    try {
      const full = join(disk.folder, "out");
      const filling = writeFolder(full, {}, (into) => writeFile(join(into, "a"), new Uint8Array(2 ** 21)));
      await expect(filling).rejects.toMatchObject({ code: "DISK_FULL", where: full });
      expect(await readdir(disk.folder)).toEqual([]);
    } finally {
      disk.unmount();
    }
  });
});

describe("putFolder", () => {
  it("puts the old one back where the new one cannot take its place", async () => {
    await write("old");
    await expect(putFolder(out, join(folder, "missing"), force)).rejects.toMatchObject({
      code: "FILE_MISSING",
    });
    expect([await weights(), await readdir(folder)]).toEqual(["old", ["out"]]);
  });
});

describe("checkOutputFolder", () => {
  it("refuses an output that is an input, holds one or lies in one, also by its links", async () => {
    await write("a model of ours");
    await symlink("out", join(folder, "link"));
    await mkdir(join(folder, "cache"));
    await symlink(join(out, "deep", "weights"), join(folder, "cache", "weights"));
    const refused = (directory: string, input: string) =>
      expect(checkOutputFolder(directory, { force: true, inputs: [input] })).rejects.toMatchObject({
        code: "OUTPUT_OVERLAPS_INPUT",
        got: input,
      });
    await refused(out, out);
    await refused(join(folder, "link"), out);
    await refused(out, join(folder, "link"));
    await refused(folder, out);
    await refused(join(out, "new", "deeper"), out);
    await refused(out, join(out, "deep", "weights"));
    await refused(out, join(folder, "cache"));
    await checkOutputFolder(join(folder, "outside"), { inputs: [out] });
    await checkOutputFolder(`${out}-2`, { inputs: [out] });
  });

  it("refuses the working folder and what holds it", async () => {
    const cwd = vi.spyOn(process, "cwd").mockReturnValue(join(folder, "work"));
    try {
      await mkdir(join(folder, "work"));
      for (const path of [join(folder, "work"), folder]) {
        await expect(checkOutputFolder(path, force)).rejects.toMatchObject({ code: "OUTPUT_IN_USE" });
      }
    } finally {
      cwd.mockRestore();
    }
  });

  it("refuses a mount point and a disk that can only be read before any work", async (context) => {
    const disk = mountedDisk("size=1m");
    if (!disk) return context.skip();
    try {
      await expect(checkOutputFolder(disk.folder)).rejects.toMatchObject({ code: "OUTPUT_IN_USE" });
      await checkOutputFolder(join(disk.folder, "out"));
    } finally {
      disk.unmount();
    }
    const readable = mountedDisk("ro");
    if (!readable) return context.skip();
    try {
      const inside = join(readable.folder, "a", "b");
      await expect(checkOutputFolder(inside)).rejects.toMatchObject({
        code: "DISK_READ_ONLY",
        where: inside,
      });
    } finally {
      readable.unmount();
    }
  });

  it("refuses a file in its place or above it", async () => {
    await writeFile(out, "");
    for (const path of [out, join(out, "below")]) {
      await expect(checkOutputFolder(path, force)).rejects.toMatchObject({ code: "FILE_NOT_FOLDER" });
    }
  });

  const earlier: readonly (readonly [string, readonly string[]])[] = [
    ["merge", ["config.json", "model.safetensors", "tokenizer.json", "LICENSE"]],
    ["quantize", ["config.json", "model-00001-of-00002.safetensors", "quantization-log.csv"]],
    ["compress", ["plan.json", "report.html", "config.json", "gptq-w4g128/config.json"]],
    ["compress", ["plan-12.json", "layers-12/model.safetensors", "layers-12/awq-w4g128/config.json"]],
    ["export", ["config.json", "onnx/model.onnx", "onnx/model.onnx_data"]],
    ["capture", ["activations.json", "activations.safetensors"]],
  ];
  it.each(earlier)(
    "takes what version 0.1.0's %s wrote without a list, and no file more",
    async (command, files) => {
      for (const file of files) {
        await mkdir(join(out, file, ".."), { recursive: true });
        await writeFile(join(out, file), "");
      }
      await expect(checkOutputFolder(out, force)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
      await writeFile(join(out, "manifest.json"), JSON.stringify({ layerfold: "0.1.0", command }));
      await checkOutputFolder(out, force);
      await writeFile(join(out, "thesis.tex"), "");
      await expect(checkOutputFolder(out, force)).rejects.toMatchObject({ got: "thesis.tex" });
    },
  );
});
