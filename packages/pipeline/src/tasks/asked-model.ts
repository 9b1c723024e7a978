import { endTokens, type Tokenizer } from "@layerfold/checkpoint";
import type { AskedModel } from "@layerfold/evaluate";
import { type Execution, memoryNeed } from "@layerfold/graph";
import type { Artefact, TaskContext } from "@layerfold/tasks";
import { openAsked } from "../evaluation/open-evaluated.js";
import { type StoredModel, sharedCheckpoint } from "./stored-model.js";

/** A model that is ready to be asked about documents, opened once for all tasks that do. */
export async function sharedAsked(
  model: Artefact<StoredModel>,
  execution: Execution,
  ctx: Pick<TaskContext, "shared" | "report">,
): Promise<{
  readonly asked: AskedModel;
  readonly tokenizer: Tokenizer;
  readonly endTokens: readonly number[];
}> {
  const { checkpoint, tokenizer: openedTokenizer } = await sharedCheckpoint(model, ctx);
  const tokenizer = await openedTokenizer();
  const { asked } = await ctx.shared(`asked ${execution} ${model.digest}`, async () => {
    const { directory, place } = await model.read();
    const opened = await openAsked(directory, () => execution, ctx, place);
    return { asked: opened.model, bytes: memoryNeed(opened.checkpoint)[execution], close: opened.close };
  });
  return { asked, tokenizer, endTokens: await endTokens(checkpoint, tokenizer) };
}
