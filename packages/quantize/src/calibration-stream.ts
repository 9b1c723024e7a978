import {
  type BlockSpec,
  type BlockView,
  type CalibrationStatistics,
  type Hidden,
  LayerfoldError,
  type ModelRunner,
  type RunContext,
  type StatisticsKind,
  type Tap,
  type Tensor,
  type TokenBatch,
  throwIfAborted,
} from "@layerfold/core";
import { statisticsAccumulator } from "./calibration.js";

/** Inner values are kept from one pass through a block to the next up to so many bytes; what does not fit is computed again. */
const keptBytes = 2 ** 30;

/** Tokens that are enough to tell a loss by, where nothing but the log asks for a Gram matrix. */
const sampleTokens = 4096;

/** What is asked for of the inputs of a block, by the inner value that they are. */
export type WantedStatistics = ReadonlyMap<
  Tap,
  { readonly width: number; readonly kinds: ReadonlySet<StatisticsKind> }
>;

/** One batch on its way. */
interface Place {
  /** The stream before the current block. */
  hidden: Hidden;
  /** Inner values of the current block that no longer change. */
  readonly kept: Map<Tap, Tensor<Float32Array>>;
}

/**
 * The calibration tokens on their way through the model, block by block. Memory: 4·tokens·hidden bytes, and at most 1 GiB of inner values
 * of the current block, so that no pass through it computes what an earlier one left behind.
 */
export class CalibrationStream {
  private readonly runner: ModelRunner;
  private readonly places: readonly Place[];
  private bytes = 0;

  private constructor(runner: ModelRunner, places: readonly Place[]) {
    this.runner = runner;
    this.places = places;
  }

  /** @throws CALIBRATION_EMPTY */
  static async open(
    runner: ModelRunner,
    batches: AsyncIterable<TokenBatch>,
    ctx: RunContext,
  ): Promise<CalibrationStream> {
    const places: Place[] = [];
    for await (const batch of batches) {
      throwIfAborted(ctx.signal);
      places.push({ hidden: await runner.embed(batch), kept: new Map() });
    }
    if (places.length === 0)
      throw new LayerfoldError("CALIBRATION_EMPTY", "the calibration text gave no tokens");
    return new CalibrationStream(runner, places);
  }

  /**
   * What the inputs of a block's linear maps are like when the model runs with `block` in the layer's place.
   *
   * @param block - as the checkpoint stores it
   * @param options.settled - the weights that these inputs depend on stay as they are until `advance`
   */
  async statistics(
    layer: number,
    block: BlockView,
    wanted: WantedStatistics,
    { settled = false }: { readonly settled?: boolean },
    ctx: RunContext,
  ): Promise<ReadonlyMap<Tap, CalibrationStatistics>> {
    const accumulators = accumulatorsFor(wanted);
    const keep = settled ? worthKeeping([...wanted.keys()], block.spec) : { add: [], drop: [] };
    const taps = [...new Set([...wanted.keys(), ...keep.add])];
    for (const place of this.places) {
      throwIfAborted(ctx.signal);
      const { hidden, kept } = place;
      const output = await this.runner.runBlock(layer, hidden, {
        replace: block,
        taps,
        tapsOnly: true,
        given: kept,
      });
      for (const [tap, accumulator] of accumulators) {
        await accumulator.add(output.taps.get(tap) as Tensor<Float32Array>, hidden.lengths, ctx);
      }
      for (const tap of keep.add) this.keep(place, tap, output.taps.get(tap) as Tensor<Float32Array>);
      if (keep.add.every((tap) => kept.has(tap))) for (const tap of keep.drop) this.drop(place, tap);
    }
    return finished(accumulators);
  }

  /**
   * Moves the tokens behind `block`; behind the last one nothing asks where they are.
   *
   * @param measured - statistics to take on the way, of a sample of the batches
   */
  async advance(
    layer: number,
    block: BlockView,
    measured: WantedStatistics,
    ctx: RunContext,
  ): Promise<ReadonlyMap<Tap, CalibrationStatistics>> {
    const accumulators = accumulatorsFor(measured);
    if (layer === this.runner.layerCount - 1 && measured.size === 0) return new Map();
    const sample = this.sample();
    for (const [i, place] of this.places.entries()) {
      throwIfAborted(ctx.signal);
      const { hidden, kept } = place;
      const taps = sample.has(i) ? [...measured.keys()] : [];
      const output = await this.runner.runBlock(layer, hidden, { replace: block, taps, given: kept });
      for (const tap of taps) {
        await accumulators.get(tap)?.add(output.taps.get(tap) as Tensor<Float32Array>, hidden.lengths, ctx);
      }
      place.hidden = output.hidden;
      for (const tap of [...kept.keys()]) this.drop(place, tap);
    }
    return finished(accumulators);
  }

  /** Batches, evenly spread, that hold about `sampleTokens` tokens or all. */
  private sample(): ReadonlySet<number> {
    const { length } = this.places;
    const tokens = this.places.reduce((sum, { hidden }) => sum + hidden.lengths.reduce((a, b) => a + b), 0);
    const count = Math.min(length, Math.ceil((length * sampleTokens) / tokens));
    return new Set(Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * length) / count)));
  }

  private keep({ kept }: Place, tap: Tap, values: Tensor<Float32Array>): void {
    if (kept.has(tap) || this.bytes + values.data.byteLength > keptBytes) return;
    kept.set(tap, values);
    this.bytes += values.data.byteLength;
  }

  private drop({ kept }: Place, tap: Tap): void {
    this.bytes -= kept.get(tap)?.data.byteLength ?? 0;
    kept.delete(tap);
  }
}

/** Of a pass that takes `taps`, the values that spare later passes products, and those that are then needed no more. */
function worthKeeping(
  taps: readonly Tap[],
  spec: BlockSpec | undefined,
): { readonly add: readonly Tap[]; readonly drop: readonly Tap[] } {
  const add = taps.filter((tap) => tap === "attention.heads" || tap === "mlp.hidden");
  // Behind the middle of a sequential block nothing reads what is before it.
  const middle = spec?.residual === "sequential" && taps.includes("mlp.input");
  return middle ? { add: [...add, "residual.mid"], drop: ["attention.heads"] } : { add, drop: [] };
}

function accumulatorsFor(wanted: WantedStatistics): Map<Tap, ReturnType<typeof statisticsAccumulator>> {
  return new Map(Array.from(wanted, ([tap, { width, kinds }]) => [tap, statisticsAccumulator(width, kinds)]));
}

function finished(
  accumulators: ReadonlyMap<Tap, ReturnType<typeof statisticsAccumulator>>,
): ReadonlyMap<Tap, CalibrationStatistics> {
  return new Map(Array.from(accumulators, ([tap, accumulator]) => [tap, accumulator.finish()]));
}
