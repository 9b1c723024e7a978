import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint, openTokenizer } from "@layerfold/checkpoint";
import { checkpoint as foldling } from "@layerfold/foldling";
import { openFolderStore } from "@layerfold/tasks";
import { createRun, type RunOptions } from "./run.js";
import { calibratedModel } from "./stages/open-workbench.js";
import { taskRunner } from "./task-runner.js";
import { givenModel } from "./tasks/stored-model.js";

/** foldling, or another checkpoint with its tokenizer, opened, with tasks in a store of its own. */
export async function openFoldling(options: RunOptions = {}, directory = foldling) {
  const folder = await mkdtemp(join(tmpdir(), "layerfold-pipeline-"));
  const checkpoint = await openCheckpoint(directory);
  const tokenizer = await openTokenizer(directory);
  const model = givenModel(directory, await checkpoint.fingerprint());
  const run = createRun(options);
  const tasks = taskRunner(await openFolderStore(join(folder, "work")), run.executor, run.ctx);
  return {
    checkpoint,
    tokenizer,
    model,
    run,
    tasks,
    calibrated: calibratedModel({ checkpoint, tokenizer, model }, tasks, run),
    /** For whatever the test writes. */
    folder,
    async close() {
      await run.executor.close?.();
      await checkpoint.close();
      await rm(folder, { recursive: true });
    },
  };
}
