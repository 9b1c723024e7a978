import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, it } from "vitest";
import { folderStore } from "./folder-store.js";
import { taskStoreChecks } from "./store-checks.js";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-store-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const checks = taskStoreChecks({
  open: (options) => folderStore(root, options),
  async damage({ kind, digest }, file) {
    const path = join(root, "artefacts", kind, digest, file);
    const { atime, mtime } = await stat(path);
    const bytes = await readFile(path);
    bytes[0] ^= 1;
    await writeFile(path, bytes);
    await utimes(path, atime, mtime);
  },
  async kill(name) {
    const folder = join(root, "leases");
    const held = (await readdir(folder)).filter((file) => file.startsWith(`${name}.`)).sort();
    const file = join(folder, held.at(-1)!);
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), process: 2 ** 30 }));
  },
});
for (const { name, run } of checks) it(name, run);
