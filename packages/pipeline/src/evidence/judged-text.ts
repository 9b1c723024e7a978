import { batchBySize, type TokenSequence } from "@layerfold/checkpoint";
import { contiguousData, type Hidden, type ModelRunner, type TokenBatch } from "@layerfold/core";
import { countTargets } from "@layerfold/evaluate";
import { headModel } from "@layerfold/graph";
import { recalledTokens } from "@layerfold/merge";
import { tokensPerBatch } from "../inputs/open-model.js";

/** What a plan's loss weighs beside the mean loss of the text's tokens. */
export interface BesideText {
  readonly answers?: WeighedAnswers;
  /** Weight of the mean loss of those of the text's tokens that stood in their window before; default 0. */
  readonly recallWeight?: number;
}

/** Answered questions, and what their loss weighs beside the text's. */
export interface WeighedAnswers {
  /** Their answers are the only targets. */
  readonly sequences: readonly TokenSequence[];
  readonly weight: number;
}

/** Batches that a plan is judged on. */
export interface JudgedText {
  readonly batches: readonly TokenBatch[];
  /** Per batch [rows · sequenceLength]: what the token behind each place weighs in the loss. */
  readonly weights: readonly Float64Array[];
}

/** @throws TEXT_EMPTY when no token counts */
export function judgedText(
  text: readonly TokenSequence[],
  { answers, recallWeight = 0 }: BesideText = {},
): JudgedText {
  const ofText = weighedBatches(text, 1);
  if (recallWeight > 0) {
    const recalled = ofText.map(({ batch, weights }) =>
      recalledTokens(batch).rows.filter((row) => weights[row] > 0),
    );
    const count = recalled.reduce((sum, rows) => sum + rows.length, 0);
    recalled.forEach((rows, i) => {
      for (const row of rows) ofText[i].weights[row] += recallWeight / count;
    });
  }
  const judged = [...ofText, ...(answers ? weighedBatches(answers.sequences, answers.weight) : [])];
  return { batches: judged.map(({ batch }) => batch), weights: judged.map(({ weights }) => weights) };
}

/** A text's batches, the weight shared out evenly among the tokens that count. */
function weighedBatches(sequences: readonly TokenSequence[], weight: number) {
  const share = weight / countTargets(sequences);
  const ids = sequences.map((sequence) => sequence.ids);
  return batchBySize(ids, tokensPerBatch).map(({ batch, indices }) => {
    const weights = new Float64Array(batch.batchSize * batch.sequenceLength);
    indices.forEach((index, row) => {
      const first = row * batch.sequenceLength - 1;
      weights.fill(share, first + sequences[index].scoredFrom, first + batch.lengths[row]);
    });
    return { batch, weights };
  });
}

/** The streams behind the last block, batch by batch. */
type StreamsOfBatches = Iterable<Hidden> | AsyncIterable<Hidden>;

/** What is left of a model once its blocks have run: it is fed the streams of the batches that it will be asked for, in their order. */
export function streamModel(runner: ModelRunner) {
  let streams: StreamsOfBatches = [];
  const model = headModel(runner, async function* () {
    for await (const { states } of streams) yield contiguousData(states);
  });
  return {
    model,
    feed(behind: StreamsOfBatches) {
      streams = behind;
    },
  };
}

/** The weighed sum of the tokens' losses, in nats: their mean, where nothing is weighed beside the text. */
export function streamLoss(runner: ModelRunner, { batches, weights }: JudgedText) {
  const { model, feed } = streamModel(runner);
  return async (behind: StreamsOfBatches): Promise<number> => {
    feed(behind);
    let loss = 0;
    let b = 0;
    for await (const scores of model.tokenLogProbabilities(batches)) {
      weights[b++].forEach((weight, i) => {
        if (weight > 0) loss -= weight * scores[i];
      });
    }
    return loss;
  };
}
