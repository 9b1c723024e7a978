import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountedDisk } from "@layerfold/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeFolder } from "./real-path.js";
import { writeWholeFile } from "./write-file.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "write-file-"));
});
afterEach(() => rm(folder, { recursive: true }));
const text = (...path: string[]) => readFile(join(folder, ...path), "utf8");

describe("writeWholeFile", () => {
  it("makes folders on its way and replaces what stands there", async () => {
    await writeWholeFile(join(folder, "a", "b", "file"), "first");
    await writeWholeFile(join(folder, "a", "b", "file"), Buffer.from("second"));
    expect(await text("a", "b", "file")).toBe("second");
    expect(await readdir(join(folder, "a", "b"))).toEqual(["file"]);
  });

  it("follows a symbolic link, to a file that is there and to one that is not", async () => {
    await mkdir(join(folder, "far"));
    await writeFile(join(folder, "far", "there"), "old");
    for (const name of ["there", "new"]) {
      await symlink(join("far", name), join(folder, name));
      await writeWholeFile(join(folder, name), "new");
      expect(await text("far", name)).toBe("new");
    }
    const links = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isSymbolicLink());
    expect(links.map(({ name }) => name)).toEqual(["new", "there"]);
  });

  it("leaves the old file and nothing else when its content fails", async () => {
    await writeWholeFile(join(folder, "file"), "old");
    const failing = writeWholeFile(join(folder, "file"), async (handle) => {
      await handle.writeFile("half");
      throw new RangeError("no more");
    });
    await expect(failing).rejects.toThrow(RangeError);
    expect([await readdir(folder), await text("file")]).toEqual([["file"], "old"]);
  });

  it("names the path and what is wrong with it", async () => {
    await writeFile(join(folder, "file"), "");
    await symlink("loop", join(folder, "loop"));
    const said = async (path: string) => writeWholeFile(path, "").catch(({ code, where }) => [code, where]);
    for (const [code, path] of [
      ["FILE_IS_FOLDER", folder],
      ["FILE_NOT_FOLDER", join(folder, "file", "below")],
      ["FILE_LINK_LOOP", join(folder, "loop")],
      ["FILE_NAME_LONG", join(folder, "x".repeat(300))],
    ]) {
      expect(await said(path)).toEqual([code, path]);
    }
    expect((await readdir(folder)).sort()).toEqual(["file", "loop"]);
  });

  it("says that the disk is full, and leaves nothing", async (context) => {
    const disk = mountedDisk("size=1m");
    if (!disk) return context.skip();
    try {
      const file = join(disk.folder, "file");
      await writeWholeFile(file, "old");
      await expect(writeWholeFile(file, new Uint8Array(2 ** 21))).rejects.toMatchObject({
        code: "DISK_FULL",
        where: file,
        fault: "environment",
      });
      expect([await readdir(disk.folder), await readFile(file, "utf8")]).toEqual([["file"], "old"]);
    } finally {
      disk.unmount();
    }
  });

  it("says that the disk can only be read, also where folders would have to be made", async (context) => {
    const disk = mountedDisk("ro");
    if (!disk) return context.skip();
    try {
      for (const file of [join(disk.folder, "file"), join(disk.folder, "a", "b", "file")]) {
        await expect(writeWholeFile(file, "")).rejects.toMatchObject({ code: "DISK_READ_ONLY", where: file });
      }
    } finally {
      disk.unmount();
    }
  });
});

it.runIf(process.platform === "linux")(
  "makeFolder comes to an end where a folder takes no others",
  async () => {
    await expect(makeFolder("/proc/none/below")).rejects.toMatchObject({ code: "ENOENT" });
  },
);
