import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { scratchFolder, sweepLeftovers, temporaryBeside } from "./temporary.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "temporary-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** The same name as a process that has ended would have made it. */
function ofDead(name: string): string {
  return name.replace(`-${process.pid}-`, `-${spawnSync(process.execPath, ["-e", "0"]).pid}-`);
}
const names = async () => (await readdir(folder)).sort();

it("no two names are the same", () => {
  const made = Array.from({ length: 100 }, () => temporaryBeside(join(folder, "out")));
  expect(new Set(made).size).toBe(100);
});

it("sweeps what dead processes of this machine left, and nothing else", async () => {
  const mine = temporaryBeside(join(folder, "mine"));
  const theirs = temporaryBeside(join(folder, "theirs"));
  const [, host] = /layerfold-([0-9a-f]{8})-/.exec(theirs)!;
  const elsewhere = ofDead(theirs).replace(host, host === "00000000" ? "11111111" : "00000000");
  const kept = [mine, elsewhere, join(folder, ".out.1234.tmp"), join(folder, "letter.layerfold-1.tmp")];
  for (const file of kept) await writeFile(file, "");
  await writeFile(ofDead(temporaryBeside(join(folder, "a"))), "");
  await mkdir(join(ofDead(temporaryBeside(join(folder, "b"))), "deep"), { recursive: true });
  await sweepLeftovers(folder);
  expect(await names()).toEqual(kept.map((file) => basename(file)).sort());
});

it.runIf(process.platform === "linux")("knows a process from a later one of the same id", async () => {
  const start = /-(\d+)-[0-9a-f]{12}\.tmp$/.exec(temporaryBeside(folder))![1];
  await writeFile(temporaryBeside(join(folder, "out")).replace(`-${start}-`, `-${Number(start) - 1}-`), "");
  await sweepLeftovers(folder);
  expect(await names()).toEqual([]);
});

it("puts an old output back where a process died before the new one had its name", async () => {
  const old = ofDead(temporaryBeside(join(folder, "out"), "old"));
  await mkdir(join(folder, "out"));
  await writeFile(join(folder, "out", "weights"), "");
  await rename(join(folder, "out"), old);
  await sweepLeftovers(folder);
  expect([await names(), await readdir(join(folder, "out"))]).toEqual([["out"], ["weights"]]);
});

it("removes an old output where the new one has its name", async () => {
  await mkdir(join(folder, "out"));
  await mkdir(ofDead(temporaryBeside(join(folder, "out"), "old")));
  await sweepLeftovers(folder);
  expect(await names()).toEqual(["out"]);
});

it("a scratch folder takes the place of those that dead processes left", async () => {
  await mkdir(ofDead(await scratchFolder("work", folder)));
  const made = await scratchFolder("work", folder);
  expect((await names()).length).toBe(2);
  expect(await readdir(made)).toEqual([]);
});
