import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { fileFingerprint } from "./manifest.js";

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "manifest-"));
});
afterAll(() => rm(scratch, { recursive: true }));

it("knows a folder by the names and contents of its files", async () => {
  const folder = async (name: string, files: Record<string, string>) => {
    await mkdir(join(scratch, name, "test"), { recursive: true });
    for (const [file, text] of Object.entries(files)) await writeFile(join(scratch, name, file), text);
    return fileFingerprint(join(scratch, name));
  };
  const first = await folder("a", { "test/x.csv": "1", "y.csv": "2" });
  expect(first).toMatch(/^[0-9a-f]{64}$/);
  expect(await folder("b", { "y.csv": "2", "test/x.csv": "1" })).toBe(first);
  expect(await folder("c", { "test/x.csv": "1", "y.csv": "3" })).not.toBe(first);
  expect(await folder("d", { "test/x.csv": "1", "z.csv": "2" })).not.toBe(first);
  await expect(fileFingerprint(join(scratch, "none"))).rejects.toMatchObject({ code: "FILE_MISSING" });
});
