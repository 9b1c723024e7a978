import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { dropPlan } from "@layerfold/core";
import { drop, foldCheckpoint } from "@layerfold/merge";
import { rtn } from "@layerfold/quantize";
import { defineTask, folderCodec, openFolderStore } from "@layerfold/tasks";
import { mountedDisk, writeTinyLlama } from "@layerfold/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { checkSpace, expectedBytes } from "./disk-space.js";
import { createRun } from "./run.js";
import { taskRunner } from "./task-runner.js";

let scratch: string;
let checkpoint: Checkpoint;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "disk-space-"));
  await writeTinyLlama(join(scratch, "model"));
  checkpoint = await openCheckpoint(join(scratch, "model"));
});
afterAll(async () => {
  await checkpoint.close();
  await rm(scratch, { recursive: true });
});

it("knows how large a fold will be where all blocks are alike, and a quantised one without its scales", async () => {
  const { ctx } = createRun();
  const folded = await foldCheckpoint(
    checkpoint,
    dropPlan(4, [1, 3]),
    { strategy: drop(), out: join(scratch, "folded") },
    ctx,
  );
  const expected = expectedBytes(checkpoint);
  expect(expected.fold(2)).toBe(folded.tensorBytes);
  // Embedding, head and last norm, float32 [64, 32] twice and [32], stay; the blocks' go from 32 bits to 4.
  const beside = 4 * (2 * 64 * 32 + 32);
  expect(expected.quantized(2, { quantizer: rtn({ bits: 4 }) })).toBe(
    beside + (folded.tensorBytes - beside) / 8,
  );
});

it("says before any work what is needed and what is free", async (context) => {
  const disk = mountedDisk("size=2m");
  if (!disk) return context.skip();
  try {
    const folder = join(disk.folder, "out.work");
    const opened = await openFolderStore(folder);
    const run = createRun();
    const tasks = taskRunner(opened, run.executor, run.ctx);
    const mebi = 2 ** 20;
    await checkSpace(tasks, { folder }, { kept: [mebi / 2], passing: [mebi / 4, mebi / 2] });
    const much = checkSpace(tasks, { folder }, { kept: [mebi, 1.5 * mebi], passing: [mebi / 2] });
    await expect(much).rejects.toMatchObject({
      code: "DISK_FULL",
      wanted: "about 3.0 MiB",
      got: expect.stringMatching(/^(1\.9|2\.0) MiB free$/),
      where: folder,
    });
    // What goes elsewhere needs its room there.
    const elsewhere = { folder: scratch, out: join(disk.folder, "a", "out") };
    await expect(checkSpace(tasks, elsewhere, { kept: [3 * mebi] })).rejects.toMatchObject({
      code: "DISK_FULL",
      where: disk.folder,
    });
    // A fold of 1 MiB that stands already need not be made again.
    await writeFile(join(disk.folder, "full"), new Uint8Array(mebi / 2));
    const fold = join(scratch, "made");
    await writeFile(fold, new Uint8Array(mebi));
    const made = defineTask({
      kind: "fold",
      code: "1",
      codec: { ...folderCodec("fold"), write: (_, path) => writeFile(path, new Uint8Array(mebi)) },
      run: async () => fold,
    });
    await tasks.run([made({})]);
    await checkSpace(tasks, { folder }, { kept: [mebi] });
    await expect(checkSpace(tasks, { folder }, { kept: [2 * mebi] })).rejects.toMatchObject({
      code: "DISK_FULL",
    });
    await opened.leave();
  } finally {
    disk.unmount();
  }
});
