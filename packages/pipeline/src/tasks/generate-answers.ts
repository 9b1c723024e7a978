import { promptIds } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { generateAnswers } from "@layerfold/evaluate";
import type { Execution } from "@layerfold/graph";
import { type Artefact, defineTask, jsonCodec } from "@layerfold/tasks";
import { sharedAsked } from "./asked-model.js";
import { allThreads } from "./resources.js";
import { type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** How one model goes on with each of several prompts: the most probable token each time, until an end token. */
export const generateTask = defineTask({
  kind: "generate",
  code: taskCode(import.meta.url),
  codec: jsonCodec<string[]>(),
  resources: allThreads,
  async run(
    {
      execution,
      max_new_tokens: maxNewTokens,
    }: { readonly execution: Execution; readonly max_new_tokens: number },
    {
      model,
      prompts,
    }: { readonly model: Artefact<StoredModel>; readonly prompts: Artefact<readonly string[]> },
    ctx,
  ) {
    const { asked, tokenizer, endTokens } = await sharedAsked(model, execution, ctx);
    const { maxPositionEmbeddings: context } = (await sharedCheckpoint(model, ctx)).checkpoint.architecture;
    const texts = await prompts.read();
    const given = texts.map((prompt) => {
      const { ids } = promptIds(tokenizer, prompt);
      if (ids.length === 0 || ids.length > context) {
        throw new LayerfoldError("PROMPT_LENGTH", "a prompt has no token, or more than the model's context", {
          wanted: `1 to ${context} tokens`,
          got: `${ids.length}`,
          where: prompt.slice(0, 60),
        });
      }
      // The last token is only given out.
      return { ids, until: [], maxTokens: Math.min(maxNewTokens, context - ids.length + 1) };
    });
    const total = given.length;
    const advance = (done: number) =>
      ctx.report?.({ type: "progress", stage: "generate", done, total, unit: "prompts" });
    return generateAnswers(asked, tokenizer, given, { endTokens, advance }, ctx);
  },
});
