import type { TokenSequence } from "@layerfold/checkpoint";
import { seededRng } from "@layerfold/linalg";
import { type Artefact, defineTask } from "@layerfold/tasks";
import { selfText } from "../calibration/self-text.js";
import { sequencesCodec } from "./given-text.js";
import { allThreads } from "./resources.js";
import { type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** Text that the dense model makes up itself. */
export const selfTextTask = defineTask({
  kind: "self-text",
  code: taskCode(import.meta.url),
  codec: sequencesCodec,
  resources: allThreads,
  async run(
    {
      seed,
      ...options
    }: {
      readonly tokens: number;
      readonly window: number;
      readonly temperature: number;
      readonly seed: number;
    },
    { model }: { readonly model: Artefact<StoredModel> },
    ctx,
  ): Promise<readonly TokenSequence[]> {
    const { checkpoint, place, tokenizer } = await sharedCheckpoint(model, ctx);
    return selfText(checkpoint, await tokenizer(), { ...options, place }, { ...ctx, rng: seededRng(seed) });
  },
});
