import { type ActivationSource, contiguousData, type ModelRunner, throwIfAborted } from "@layerfold/core";

/**
 * Activations from a model that is run block by block, for models bigger than memory. Every batch reads every block's weights, so
 * let batches be large. The runner is the caller's: `close` leaves it open.
 */
export function runnerSource(runner: ModelRunner): ActivationSource {
  return {
    layerCount: runner.layerCount,
    hiddenSize: runner.hiddenSize,
    async *capture(batches, ctx) {
      for await (const batch of batches) {
        let hidden = await runner.embed(batch);
        const residuals = [contiguousData(hidden.states)];
        for (let layer = 0; layer < runner.layerCount; layer++) {
          throwIfAborted(ctx.signal);
          hidden = (await runner.runBlock(layer, hidden)).hidden;
          residuals.push(contiguousData(hidden.states));
        }
        yield { batch, residuals };
      }
    },
    close: async () => {},
  };
}
