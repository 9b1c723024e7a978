import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import type { RunContext } from "@layerfold/core";
import { type Decoder, type Execution, openDecoder } from "@layerfold/graph";
import type { DeviceOptions } from "@layerfold/onnx";
import { isQuantized, quantizedWeights, type RunningSummary, runningSummary } from "@layerfold/quantize";

/**
 * Opens a checkpoint to measure it. A quantised one runs on its packed codes, in float32 products; what no kernel takes is simulated
 * exactly, and `running` says how much.
 * @param executionOf - how it runs
 */
export async function openEvaluated(
  directory: string,
  executionOf: (checkpoint: Checkpoint) => Execution,
  { report }: Pick<RunContext, "report">,
  place: DeviceOptions = {},
): Promise<{
  checkpoint: Checkpoint;
  model: Decoder;
  /** Of a quantised checkpoint. */
  running?: RunningSummary;
  close(): Promise<void>;
}> {
  const checkpoint = await openCheckpoint(directory, { report });
  try {
    const execution = executionOf(checkpoint);
    const weights = isQuantized(checkpoint) ? await quantizedWeights(checkpoint, report) : undefined;
    const model = await openDecoder(checkpoint, { quantizedWeights: weights, execution, ...place });
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
