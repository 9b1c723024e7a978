import { cp } from "node:fs/promises";
import { LayerfoldError } from "@layerfold/core";
import { type Known, resumable } from "@layerfold/pipeline";
import type { FuzzTarget } from "../target.js";
import { madeFiles } from "../tiny-model.js";

const run = { terminal: { say() {}, report() {}, result() {}, stop() {} } };
const results = {
  a: { quality: 1.5, rows: [1, 2] },
  b: new Float32Array(20).fill(0.5),
  c: new Map([["x", [true, null]]]),
};

/** What an interrupted command left, as the next run finds it. */
export const unfinished: FuzzTarget = {
  id: "unfinished",
  starts: async (scratch) => [
    await madeFiles(scratch, async (folder) => {
      const interrupted = new LayerfoldError("INTERRUPTED", "interrupted", { fault: "interrupted" });
      const work = resumable(
        `${folder}/work`,
        { command: "fuzz" },
        async ({ known }) => {
          for (const [key, value] of Object.entries(results)) await known(key, async () => value);
          throw interrupted;
        },
        run,
      );
      await work.catch((error) => {
        if (error !== interrupted) throw error;
      });
    }),
  ],
  async read(folder, out) {
    await cp(folder, out, { recursive: true });
    const used = async (known: Known) => {
      const a = await known("a", async () => results.a);
      const b = await known("b", async () => results.b);
      const c = await known("c", async () => results.c);
      // As a command would use them.
      return [a.rows.map((row) => row * a.quality), b.map(Math.sqrt), [...c.values()].length];
    };
    await resumable(`${out}/work`, { command: "fuzz" }, ({ known }) => used(known), run);
  },
};
