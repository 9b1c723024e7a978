import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { requireRegularFile } from "@layerfold/disk";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readDocuments } from "./documents.js";
import { readGguf } from "./gguf/read-gguf.js";
import { openCheckpoint } from "./open-checkpoint.js";
import { readQuestions } from "./questions.js";
import { openTokenizer } from "./tokenizer.js";
import { carryFiles } from "./write-checkpoint.js";

const foldling = fileURLToPath(new URL("../../../models/foldling/checkpoint/", import.meta.url));
const notRegular = expect.objectContaining({ code: "FILE_NOT_REGULAR" });

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-fifo-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** Nobody writes to it, so whoever opens it waits for ever. */
async function fifo(name: string): Promise<string> {
  const file = join(folder, name);
  await rm(file, { force: true });
  execFileSync("mkfifo", [file]);
  return file;
}

describe.skipIf(process.platform === "win32")("a FIFO in a file's place is refused", () => {
  it.each<[string, (file: string) => Promise<unknown>]>([
    ["text.txt", readDocuments],
    ["rows.jsonl", readDocuments],
    ["questions.jsonl", readQuestions],
    ["model.gguf", readGguf],
    ["LICENSE", () => mkdir(join(folder, "to")).then(() => carryFiles(folder, join(folder, "to")))],
  ])("%s", async (name, read) => {
    await expect(read(await fifo(name))).rejects.toThrow(notRegular);
  });

  it.each([
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
  ])("%s", async (name) => {
    await cp(foldling, folder, { recursive: true });
    await fifo(name);
    const open = async () => {
      await (await openCheckpoint(folder)).close();
      await openTokenizer(folder);
    };
    await expect(open()).rejects.toThrow(notRegular);
  });

  it("also behind a link, as a device is; files, folders and links to them pass", async () => {
    await symlink(await fifo("a"), join(folder, "b"));
    await symlink(foldling, join(folder, "c"));
    await expect(requireRegularFile(join(folder, "b"))).rejects.toThrow(notRegular);
    await expect(requireRegularFile("/dev/null")).rejects.toThrow(notRegular);
    for (const file of [foldling, join(foldling, "config.json"), join(folder, "c")]) {
      expect((await requireRegularFile(file)).size).toBeGreaterThan(0);
    }
    await expect(requireRegularFile(join(folder, "d"))).rejects.toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
  });
});
