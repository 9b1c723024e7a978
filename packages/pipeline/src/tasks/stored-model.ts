import { resolve } from "node:path";
import { type Checkpoint, openCheckpoint, openTokenizer, type Tokenizer } from "@layerfold/checkpoint";
import { type Decoder, type Execution, memoryNeed } from "@layerfold/graph";
import { type DeviceOptions, deviceName } from "@layerfold/onnx";
import type { Artefact, Task, TaskContext } from "@layerfold/tasks";
import { openEvaluated } from "../evaluation/open-evaluated.js";
import { placedDigest } from "../place.js";

/** A checkpoint on disk. */
export interface StoredModel {
  readonly directory: string;
  /** Where it runs; absent: on the CPU. */
  readonly place?: DeviceOptions | undefined;
}

/** A checkpoint that stands, or one that a task makes. */
export type ModelInput = Artefact<StoredModel> | Task<StoredModel>;

/**
 * A checkpoint that stands.
 * @param fingerprint - of its content
 * @param place - where it runs; stands in the digest, and so in that of all that is found out by running it
 */
export function givenModel(
  directory: string,
  fingerprint: string,
  place: DeviceOptions = {},
): Artefact<StoredModel> {
  const digest = placedDigest(fingerprint, place);
  const reference = { kind: "model", directory: resolve(directory), place: { ...place } };
  return { digest, path: directory, diagnostics: [], reference, read: async () => ({ directory, place }) };
}

/** A checkpoint, opened once for all tasks that look at it. */
export async function sharedCheckpoint(
  model: Artefact<StoredModel>,
  ctx: Pick<TaskContext, "shared">,
): Promise<{
  readonly checkpoint: Checkpoint;
  readonly place: DeviceOptions;
  tokenizer(): Promise<Tokenizer>;
}> {
  return ctx.shared(`checkpoint ${model.digest}`, async () => {
    const { directory, place = {} } = await model.read();
    const checkpoint = await openCheckpoint(directory);
    let tokenizer: Promise<Tokenizer> | undefined;
    return {
      checkpoint,
      place,
      tokenizer: () => (tokenizer ??= openTokenizer(directory)),
      close: () => checkpoint.close(),
    };
  });
}

/** A whole model that is ready to be measured, opened once for all tasks that ask it something. */
export async function sharedDecoder(
  model: Artefact<StoredModel>,
  execution: Execution,
  ctx: Pick<TaskContext, "shared" | "report">,
): Promise<Decoder> {
  const { decoder } = await ctx.shared(`decoder ${execution} ${model.digest}`, async () => {
    const { directory, place } = await model.read();
    const opened = await openEvaluated(directory, () => execution, ctx, place);
    return { decoder: opened.model, bytes: memoryNeed(opened.checkpoint)[execution], close: opened.close };
  });
  return decoder;
}

/** That a checkpoint's tensors take. */
export function bytesOf({ tensors }: Pick<Checkpoint, "tensors">): number {
  return Array.from(tensors.values()).reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** What a checkpoint made of another keeps of it: where it runs. */
export function placed(place: DeviceOptions): Pick<StoredModel, "place"> {
  return deviceName(place) === undefined ? {} : { place };
}
