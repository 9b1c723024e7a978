import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { encodeJson, type FuzzTarget } from "./target.js";

const probe = (id: string, read: (text: string, folder: string) => Promise<unknown>): FuzzTarget => ({
  id,
  starts: async () => [new Map([["a.json", encodeJson({ n: 7 })]])],
  read: async (folder) => read(await readFile(join(folder, "a.json"), "utf8"), folder),
});
const untouched = '{"n":7}';

/** Readers that go wrong in every way that the harness has to see. */
export const probes: readonly FuzzTarget[] = [
  probe("good", async (text) => {
    if (text !== untouched) throw new LayerfoldError("PROBE", "not what it was");
  }),
  probe("uncoded", async (text) => {
    if (JSON.parse(untouched).n === 7 && text.includes("__proto__"))
      throw new TypeError("x is not a function");
  }),
  probe("hangs", async (text) => {
    while (text !== untouched);
  }),
  probe("hoards", async (text) => {
    const hoard: Uint8Array[] = [];
    while (text !== untouched) hoard.push(new Uint8Array(2 ** 24).fill(1));
  }),
  probe("stray", async (text) => {
    if (text !== untouched) void Promise.reject(new Error("nobody waits"));
  }),
  probe("dies", async (text) => {
    if (text !== untouched) process.exit(3);
  }),
  probe("escapes", async (text, folder) => {
    if (text !== untouched) await writeFile(join(dirname(folder), "elsewhere"), "x");
  }),
];
