import { cp } from "node:fs/promises";
import { portableEngine } from "@layerfold/linalg";
import { createRun, givenText, givenValue, type TaskRunner, withTasks } from "@layerfold/pipeline";
import { defineTask, jsonCodec } from "@layerfold/tasks";
import type { FuzzTarget } from "../target.js";
import { madeFiles } from "../tiny-model.js";

const figures = { quality: 1.5, rows: [1, 2], label: "x" };
const text = [{ ids: Int32Array.of(3, 1, 4, 1, 5), scoredFrom: 1 }];
const sum = defineTask({
  kind: "sum",
  code: "1",
  codec: jsonCodec<number>(),
  run: async ({ values }: { values: number[] }, _, ctx) => {
    ctx.report?.({ type: "diagnostic", severity: "warning", code: "ODD", message: "an odd sum" });
    return values.reduce((total, value) => total + value, 0);
  },
});

/** What all of it comes to: the same, whatever became of the files. */
async function work(tasks: TaskRunner): Promise<string> {
  const [total] = await tasks.run([sum({ values: [1, 2, 4.5] })]);
  const [found] = await tasks.run([givenValue("figures", figures)]);
  const [sequences] = await tasks.run([givenText(text)]);
  const ids = sequences.flatMap((sequence) => Array.from(sequence.ids, (id) => id - sequence.scoredFrom));
  return JSON.stringify([total, found, ids]);
}
const run = (work: string) => createRun({ store: work, engine: portableEngine(), report: () => undefined });

/** A folder of finished work, as a run finds it that goes on from there. */
export const workFolder: FuzzTarget = {
  id: "work-folder",
  starts: async (scratch) => [
    await madeFiles(scratch, async (folder) => {
      await withTasks(undefined, run(`${folder}/work`), work);
    }),
  ],
  async read(folder, out) {
    await cp(folder, out, { recursive: true });
    const found = await withTasks(undefined, run(`${out}/work`), work);
    if (found !== '[7.5,{"quality":1.5,"rows":[1,2],"label":"x"},[2,0,3,0,4]]') throw new Error(found);
  },
};
