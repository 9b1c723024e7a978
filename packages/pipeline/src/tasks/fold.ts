import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TokenSequence } from "@layerfold/checkpoint";
import type { MergePlan, MergeStrategy, Repair } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { type FoldedCheckpoint, foldCheckpoint } from "@layerfold/merge";
import { type Artefact, type Codec, defineTask, type Json } from "@layerfold/tasks";
import { eachBatch, tokensPerTappedBatch } from "../inputs/open-model.js";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import { peakMemory, resetPeakMemory } from "./peak-memory.js";
import { allThreads } from "./resources.js";
import { sharedParts } from "./shared-parts.js";
import { placed, type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** A folded checkpoint, and what is known of it. */
export interface StoredFold extends StoredModel, Omit<FoldedCheckpoint, "directory" | "files"> {
  /** That it took. */
  readonly seconds: number;
  /** Largest resident size meanwhile. */
  readonly peakRssBytes: number;
}

const foldCodec: Codec<StoredFold> = {
  name: "fold",
  async write({ directory, ...facts }, path) {
    await mkdir(path);
    await rename(directory, join(path, "checkpoint"));
    await writeFile(join(path, "fold.json"), `${JSON.stringify(facts, null, 2)}\n`);
  },
  async read(path) {
    const facts = JSON.parse(await readFile(join(path, "fold.json"), "utf8"));
    return { ...facts, directory: join(path, "checkpoint") };
  },
};

/** What becomes of a model's layers. */
export type FoldParameters = {
  readonly plan: Json;
  readonly strategy: PluginReference;
  readonly repair: PluginReference | null;
  readonly max_shard_bytes: number | null;
  readonly seed: number;
};

/** A plan carried out: the folded checkpoint, written and repaired. A try that was broken off goes on behind the blocks that it had repaired. */
export const foldTask = defineTask({
  kind: "fold",
  code: taskCode(import.meta.url),
  codec: foldCodec,
  resources: allThreads,
  joint: true,
  async run(
    { plan, strategy, repair, max_shard_bytes, seed }: FoldParameters,
    { model, text }: FoldInputs,
    ctx,
  ): Promise<StoredFold> {
    const { checkpoint, place } = await sharedCheckpoint(model, ctx);
    const scratch = await ctx.scratch();
    const out = join(scratch, "checkpoint");
    // Of a try that was killed before its end.
    await rm(out, { recursive: true, force: true });
    const startedAt = performance.now();
    await resetPeakMemory();
    const parts = ctx.joint ? sharedParts(ctx) : undefined;
    const runner = repair ? await openRunner(checkpoint, place) : undefined;
    try {
      const sequences = await text?.read();
      const size = tokensPerTappedBatch(checkpoint.architecture);
      const { files, ...folded } = await foldCheckpoint(
        checkpoint,
        plan as unknown as MergePlan,
        {
          strategy: pluginOf<MergeStrategy>(strategy),
          repair: repair ? pluginOf<Repair>(repair) : undefined,
          runner,
          calibration: sequences && (() => eachBatch(sequences, size)),
          out,
          maxShardBytes: max_shard_bytes ?? undefined,
          unfinished: join(scratch, "blocks"),
        },
        { ...ctx, rng: seededRng(seed), shareParts: parts?.shareParts },
      );
      await parts?.end();
      const seconds = (performance.now() - startedAt) / 1000;
      return { ...folded, ...placed(place), seconds, peakRssBytes: await peakMemory() };
    } finally {
      await runner?.close();
    }
  },
});

interface FoldInputs {
  readonly model: Artefact<StoredModel>;
  /** For the repair. */
  readonly text: Artefact<readonly TokenSequence[]> | undefined;
  readonly [name: string]: Artefact | undefined;
}
