import { type Checkpoint, openCheckpoint, openTokenizer, type Tokenizer } from "@layerfold/checkpoint";
import { type Decoder, type Execution, memoryNeed } from "@layerfold/graph";
import type { Artefact, Task, TaskContext } from "@layerfold/tasks";
import { openEvaluated } from "../evaluation/open-evaluated.js";

/** A checkpoint on disk. */
export interface StoredModel {
  readonly directory: string;
}

/** A checkpoint that stands, or one that a task makes. */
export type ModelInput = Artefact<StoredModel> | Task<StoredModel>;

/** A checkpoint that stands. @param fingerprint - of its content */
export function givenModel(directory: string, fingerprint: string): Artefact<StoredModel> {
  return { digest: fingerprint, path: directory, diagnostics: [], read: async () => ({ directory }) };
}

/** A checkpoint, opened once for all tasks that look at it. */
export async function sharedCheckpoint(
  model: Artefact<StoredModel>,
  ctx: Pick<TaskContext, "shared">,
): Promise<{ readonly checkpoint: Checkpoint; tokenizer(): Promise<Tokenizer> }> {
  return ctx.shared(`checkpoint ${model.digest}`, async () => {
    const { directory } = await model.read();
    const checkpoint = await openCheckpoint(directory);
    let tokenizer: Promise<Tokenizer> | undefined;
    return {
      checkpoint,
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
    const opened = await openEvaluated((await model.read()).directory, () => execution, ctx);
    return { decoder: opened.model, bytes: memoryNeed(opened.checkpoint)[execution], close: opened.close };
  });
  return decoder;
}

/** That a checkpoint's tensors take. */
export function bytesOf({ tensors }: Pick<Checkpoint, "tensors">): number {
  return Array.from(tensors.values()).reduce((sum, { byteLength }) => sum + byteLength, 0);
}
