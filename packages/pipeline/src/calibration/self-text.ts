import { type Checkpoint, endTokens, type Tokenizer, type TokenSequence } from "@layerfold/checkpoint";
import { type Architecture, LayerfoldError, type RunContext } from "@layerfold/core";
import { openGenerator } from "@layerfold/graph";
import type { DeviceOptions } from "@layerfold/onnx";

export interface SelfTextOptions {
  /** Tokens of all texts together; the last text is cut off there. */
  readonly tokens: number;
  /** Most tokens of a text. */
  readonly window: number;
  /** Default 1: the model's own distribution. */
  readonly temperature?: number;
  /** Where the model runs. */
  readonly place?: DeviceOptions;
}

/** Bytes that attention may remember of the texts that are drawn at once. */
const memoryBytes = 2 ** 30;

/**
 * Text that the dense model makes up: drawn token by token from its begin token to one of its end tokens or the window's end, the same with the
 * same seed. No data is needed, and the tokens are what the model expects, but only that.
 * @throws SELF_TEXT when the model has no token to begin with, or makes nothing
 */
export async function selfText(
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  { tokens, window, temperature = 1, place }: SelfTextOptions,
  ctx: Pick<RunContext, "rng" | "signal" | "report">,
): Promise<TokenSequence[]> {
  const begin = tokenizer.beginId ?? tokenizer.endId;
  if (begin === undefined) {
    throw new LayerfoldError("SELF_TEXT", "the tokenizer has no token to begin a text with", {
      where: "--calibration self",
    });
  }
  const bytesOfText = window * rememberedBytes(checkpoint.architecture);
  const together = Math.max(1, Math.min(64, Math.floor(memoryBytes / bytesOfText)));
  const stopTokens = await endTokens(checkpoint, tokenizer);
  const sequences: TokenSequence[] = [];
  let made = 0;
  const report = (done: number) =>
    ctx.report?.({
      type: "progress",
      stage: "sample",
      done,
      total: tokens,
      unit: "tokens",
    });
  const generator = await openGenerator(checkpoint, place);
  try {
    for (let round = 0; made < tokens; round++) {
      const before = made;
      let drawn = 0;
      const texts = await generator.sample([begin], {
        count: Math.min(together, Math.ceil((tokens - made) / window)),
        maxNewTokens: window - 1,
        temperature,
        rng: ctx.rng.fork(`self ${round}`),
        stopTokens,
        keepStopToken: true,
        signal: ctx.signal,
        onToken(open) {
          drawn += open;
          // Texts that are still open may run past what is wanted.
          report(Math.min(before + drawn, tokens - 1));
        },
      });
      for (const text of texts) {
        const ids = Int32Array.from([begin, ...text]).subarray(0, tokens - made);
        if (ids.length < 2) continue;
        sequences.push({ ids, scoredFrom: 1 });
        made += ids.length;
      }
      if (tokens - made < 2) break;
      if (made === before) {
        throw new LayerfoldError("SELF_TEXT", "the model ends its texts before they begin", {
          where: "--calibration self",
        });
      }
    }
  } finally {
    await generator.close();
  }
  report(tokens);
  return sequences;
}

/** Bytes that the blocks remember of one token: keys and values, float32. */
function rememberedBytes({ blocks }: Architecture): number {
  const values = blocks.map(({ mixer }) =>
    mixer.kind === "attention" ? 2 * mixer.keyValueHeadCount * mixer.headSize : 0,
  );
  return Math.max(1, 4 * values.reduce((sum, count) => sum + count, 0));
}
