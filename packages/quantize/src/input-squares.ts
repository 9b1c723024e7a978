import type { Checkpoint } from "@layerfold/checkpoint";
import {
  LayerfoldError,
  type ModelRunner,
  type RunContext,
  type StatisticsKind,
  type TokenBatch,
  throwIfAborted,
} from "@layerfold/core";
import { inputTap } from "./calibration.js";
import { CalibrationStream } from "./calibration-stream.js";
import { linearRoles } from "./canonical-block.js";

const squares: ReadonlySet<StatisticsKind> = new Set(["squareMean"]);

/**
 * How strong each input of every linear map in the blocks is on a text: what an error in a weight counts by ("importance matrix").
 *
 * @param runner - of the same checkpoint
 * @returns by the name of the weight's tensor, [in] mean x_j² over tokens. Experts that no token reached are left out
 * @throws CALIBRATION_EMPTY, INTERRUPTED, and what running the model throws
 */
export async function inputSquares(
  checkpoint: Pick<Checkpoint, "architecture" | "block">,
  runner: ModelRunner,
  batches: AsyncIterable<TokenBatch>,
  ctx: RunContext,
): Promise<ReadonlyMap<string, Float64Array>> {
  const { blocks } = checkpoint.architecture;
  const stream = await CalibrationStream.open(runner, batches, ctx);
  const found = new Map<string, Float64Array>();
  for (const [layer, spec] of blocks.entries()) {
    throwIfAborted(ctx.signal);
    const stage = { type: "progress", stage: "importance", total: blocks.length, unit: "layers" } as const;
    ctx.report?.({ ...stage, done: layer });
    const widths = new Map(
      linearRoles(spec).map((role) => {
        const shape = spec.shapes.get(role)!;
        return [inputTap(role), spec.linearLayout === "out-in" ? shape[1] : shape[0]] as const;
      }),
    );
    const wanted = new Map([...widths].map(([tap, width]) => [tap, { width, kinds: squares }]));
    const block = await checkpoint.block(layer);
    const statistics = await stream.statistics(layer, block, wanted, { settled: true }, ctx);
    for (const role of linearRoles(spec)) {
      const { squareMean } = statistics.get(inputTap(role)) ?? {};
      if (!squareMean) continue;
      if (!squareMean.every(Number.isFinite)) {
        throw new LayerfoldError("ACTIVATION_NOT_FINITE", "an input of the model's maps is no number", {
          wanted: "finite activations",
          where: spec.tensors.get(role)!,
        });
      }
      if (squareMean.some((mean) => mean > 0)) found.set(spec.tensors.get(role)!, squareMean);
    }
    await stream.advance(layer, block, new Map(), ctx);
    ctx.report?.({ ...stage, done: layer + 1 });
  }
  return found;
}
