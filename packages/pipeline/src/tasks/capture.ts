import {
  captureActivations,
  joinActivations,
  loadActivations,
  parsePooling,
  poolingName,
  saveActivations,
} from "@layerfold/capture";
import type { TokenSequence } from "@layerfold/checkpoint";
import type { Activations } from "@layerfold/core";
import { type Execution, openDecoder } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { type Artefact, type Codec, defineTask } from "@layerfold/tasks";
import { tokensOf } from "../calibration/read-calibration.js";
import { sequenceBatches } from "../inputs/open-model.js";
import { allThreads } from "./resources.js";
import { type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

export interface StoredCapture {
  readonly activations: Activations;
  /** As `poolingName` gives it. */
  readonly pooling: string;
}

/** As `saveActivations` lays them down; what they are of, the artefact says. */
const captureCodec: Codec<StoredCapture> = {
  name: "capture",
  write: ({ activations, pooling }, path) =>
    saveActivations(path, activations, { model: "", calibration: "", pooling }),
  async read(path) {
    const { activations, meta } = await loadActivations(path);
    return { activations, pooling: meta.pooling };
  },
};

/** The captures of a text's shards, by number, as one: samples one after the other, statistics weighed by their tokens. */
export const joinedCaptureTask = defineTask({
  kind: "capture-joined",
  code: taskCode(import.meta.url),
  codec: captureCodec,
  async run(
    { pooling }: { readonly pooling: string },
    shards: Readonly<Record<string, Artefact<StoredCapture>>>,
  ): Promise<StoredCapture> {
    const inOrder = Object.entries(shards).sort(([a], [b]) => Number(a) - Number(b));
    const parts: Activations[] = [];
    for (const [, shard] of inOrder) parts.push((await shard.read()).activations);
    return { activations: joinActivations(parts), pooling };
  },
});

/** The residual stream of a calibration text after every layer, pooled. */
export const captureTask = defineTask({
  kind: "capture",
  code: taskCode(import.meta.url),
  codec: captureCodec,
  resources: allThreads,
  async run(
    { pooling, execution }: { readonly pooling: string; readonly execution: Execution },
    {
      model,
      text,
    }: { readonly model: Artefact<StoredModel>; readonly text: Artefact<readonly TokenSequence[]> },
    ctx,
  ) {
    const { checkpoint, place } = await sharedCheckpoint(model, ctx);
    const sequences = await text.read();
    const source = await openDecoder(checkpoint, { execution, ...place });
    try {
      const options = { pooling: parsePooling(pooling), totalTokens: tokensOf(sequences) };
      const run = { ...ctx, rng: seededRng(0) };
      const activations = await captureActivations(source, sequenceBatches(sequences), options, run);
      return { activations, pooling: poolingName(options.pooling) };
    } finally {
      await source.close();
    }
  },
});
