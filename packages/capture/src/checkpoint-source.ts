import type { Checkpoint } from "@layerfold/checkpoint";
import { type ActivationSource, throwIfAborted } from "@layerfold/core";
import { type Decoder, openDecoder } from "@layerfold/graph";
import type { DeviceOptions } from "@layerfold/onnx";

/**
 * Activations from a checkpoint run as one whole model, the fast way. The session opens at the first capture and stays until `close`;
 * the checkpoint itself is the caller's.
 * @param place - where it runs
 */
export function checkpointSource(checkpoint: Checkpoint, place: DeviceOptions = {}): ActivationSource {
  let opened: Promise<Decoder> | undefined;
  return {
    layerCount: checkpoint.architecture.blocks.length,
    hiddenSize: checkpoint.architecture.hiddenSize,
    async *capture(batches, ctx) {
      opened ??= openDecoder(checkpoint, place);
      const decoder = await opened;
      for await (const batch of batches) {
        throwIfAborted(ctx.signal);
        const { residuals } = await decoder.run(batch, { residuals: true });
        yield { batch, residuals: residuals! };
      }
    },
    async close() {
      await (await opened)?.close();
      opened = undefined;
    },
  };
}
