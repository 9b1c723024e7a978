import { type Artefact, defineTask, jsonCodec } from "@layerfold/tasks";
import type { StoredFold } from "./fold.js";
import { sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** What is known of a folded checkpoint once it is gone. */
export interface FoldFacts {
  /** Of its content: different plans and strategies can come to the same model. */
  readonly fingerprint: string;
  readonly tensor_bytes: number;
  /** Share of the dense model's parameters removed. */
  readonly parameter_ratio: number;
  /** That folding and repairing took. */
  readonly seconds: number;
  /** Largest resident size meanwhile. */
  readonly peak_rss_bytes: number;
}

export const foldFactsTask = defineTask({
  kind: "fold-facts",
  code: taskCode(import.meta.url),
  codec: jsonCodec<FoldFacts>(),
  async run(_: Record<never, never>, { fold }: { readonly fold: Artefact<StoredFold> }, ctx) {
    const { checkpoint } = await sharedCheckpoint(fold, ctx);
    const { tensorBytes, parameterRatio, seconds, peakRssBytes } = await fold.read();
    return {
      fingerprint: await checkpoint.fingerprint(),
      tensor_bytes: tensorBytes,
      parameter_ratio: parameterRatio,
      seconds,
      peak_rss_bytes: peakRssBytes,
    };
  },
});
