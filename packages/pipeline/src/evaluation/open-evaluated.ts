import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import type { RunContext } from "@layerfold/core";
import type { AskedModel } from "@layerfold/evaluate";
import { type Decoder, type Execution, openDecoder, openTreeDecoder, readsTrees } from "@layerfold/graph";
import { type DeviceOptions, deviceName } from "@layerfold/onnx";
import { isQuantized, quantizedWeights, type RunningSummary, runningSummary } from "@layerfold/quantize";

interface Opened<M> {
  readonly checkpoint: Checkpoint;
  readonly model: M;
  /** Of a quantised checkpoint. */
  readonly running?: RunningSummary;
  close(): Promise<void>;
}

/**
 * Opens a checkpoint to measure it. A quantised one runs on its packed codes, in float32 products; what no kernel takes is simulated
 * exactly, and `running` says how much.
 * @param executionOf - how it runs
 */
export async function openEvaluated(
  directory: string,
  executionOf: (checkpoint: Checkpoint) => Execution,
  ctx: Pick<RunContext, "report">,
  place: DeviceOptions = {},
): Promise<Opened<Decoder>> {
  return open(directory, executionOf, ctx, (checkpoint, options) =>
    openDecoder(checkpoint, { ...options, ...place }),
  );
}

/**
 * Opens a checkpoint to ask it about documents: as one that reads trees of texts where it can, which is on the CPU, whole, and for models of
 * attention alone.
 */
export async function openAsked(
  directory: string,
  executionOf: (checkpoint: Checkpoint) => Execution,
  ctx: Pick<RunContext, "report">,
  place: DeviceOptions = {},
): Promise<Opened<AskedModel & { close(): Promise<void> }>> {
  return open(
    directory,
    executionOf,
    ctx,
    async (checkpoint, options): Promise<AskedModel & { close(): Promise<void> }> => {
      const { execution, quantizedWeights } = options;
      const onCpu = deviceName(place) === undefined;
      return onCpu && execution === "whole" && readsTrees(checkpoint.architecture)
        ? openTreeDecoder(checkpoint, { quantizedWeights })
        : openDecoder(checkpoint, { ...options, ...place });
    },
  );
}

async function open<M extends { close(): Promise<void> }>(
  directory: string,
  executionOf: (checkpoint: Checkpoint) => Execution,
  { report }: Pick<RunContext, "report">,
  openModel: (
    checkpoint: Checkpoint,
    options: {
      readonly execution: Execution;
      readonly quantizedWeights: Awaited<ReturnType<typeof quantizedWeights>> | undefined;
    },
  ) => Promise<M>,
): Promise<Opened<M>> {
  const checkpoint = await openCheckpoint(directory, { report });
  try {
    const execution = executionOf(checkpoint);
    const weights = isQuantized(checkpoint) ? await quantizedWeights(checkpoint, report) : undefined;
    const model = await openModel(checkpoint, { quantizedWeights: weights, execution });
    return {
      checkpoint,
      model,
      ...(weights && { running: runningSummary(weights.values()) }),
      async close() {
        await model.close();
        await checkpoint.close();
      },
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
