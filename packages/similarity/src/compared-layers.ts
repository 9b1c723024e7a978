import {
  contiguousData,
  type Embedding,
  errorWithin,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  type SimilarityMeasure,
  throwIfAborted,
} from "@layerfold/core";

export interface SimilarityOptions {
  /** Fitted to every layer first; the measure then compares coordinates. Default: the layers as they are. */
  readonly embedding?: Embedding;
  /** What the layers are called in messages, and by what random numbers are drawn for them; default 0, 1, … */
  readonly numbers?: readonly number[];
}

/** What a driver works on: every layer checked and prepared once. */
export interface ComparedLayers<P> {
  readonly prepared: readonly P[];
  /** Layers l and m by the measure, checked. */
  compare(l: number, m: number): Promise<number>;
  /** After a unit of work: stops where asked to, reports, and now and then lets the event loop deliver signals. */
  advance(done: number, total: number): Promise<void>;
}

/** Milliseconds of work between two looks at the event loop. */
const patience = 50;

/**
 * Checks, embeds and prepares layers for a measure. Random numbers are forked by layer and by pair, so that no value depends on the order
 * of work.
 *
 * @throws LAYERS_TOO_FEW, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE (naming layer and row), INTERRUPTED, and what embedding and
 *   measure throw
 */
export async function comparedLayers<P>(
  measure: SimilarityMeasure<P>,
  layers: readonly Matrix[],
  ctx: RunContext,
  { embedding, numbers }: SimilarityOptions,
): Promise<ComparedLayers<P>> {
  const numberOf = (l: number) => numbers?.[l] ?? l;
  checkLayers(layers, numberOf);
  let rested = performance.now();
  const step = async (unit: string, done: number, total: number) => {
    throwIfAborted(ctx.signal);
    ctx.report?.({ type: "progress", stage: "similarity", done, total, unit });
    if (performance.now() - rested > patience) {
      await new Promise(setImmediate);
      throwIfAborted(ctx.signal);
      rested = performance.now();
    }
  };
  const prepared: P[] = [];
  for (const [l, layer] of layers.entries()) {
    throwIfAborted(ctx.signal);
    const name = `layer ${numberOf(l)}`;
    try {
      const layerCtx = { ...within(name, ctx), rng: ctx.rng.fork(name) };
      const points = embedding ? (await embedding.fit(layer, layerCtx)).coordinates : layer;
      prepared.push(await measure.prepare(points, layerCtx));
    } catch (error) {
      throw errorWithin(error, name);
    }
    await step("layers", l + 1, layers.length);
  }
  return {
    prepared,
    async compare(l, m) {
      const [a, b] = [numberOf(l), numberOf(m)];
      const name = `layers ${a} and ${b}`;
      const pairCtx = { ...within(name, ctx), rng: ctx.rng.fork(`pair ${a} ${b}`) };
      let value: number;
      try {
        value = await measure.compare(prepared[l], prepared[m], pairCtx);
      } catch (error) {
        throw errorWithin(error, name);
      }
      checkValue(value, a, b, measure.id);
      return value;
    },
    advance: (done, total) => step("pairs", done, total),
  };
}

/** A context whose diagnostics say where they come from. */
function within(outer: string, ctx: RunContext): RunContext {
  const { report } = ctx;
  if (!report) return ctx;
  return {
    ...ctx,
    report: (event) =>
      report(event.type === "diagnostic" ? { ...event, message: `${outer}: ${event.message}` } : event),
  };
}

function checkLayers(layers: readonly Matrix[], numberOf: (l: number) => number): void {
  if (layers.length === 0) {
    throw new LayerfoldError("LAYERS_TOO_FEW", "there are no layers to compare", {
      wanted: "at least 1",
      got: "0",
    });
  }
  const samples = matrixSize(layers[0], `layer ${numberOf(0)}`).rows;
  for (const [l, layer] of layers.entries()) {
    const name = `layer ${numberOf(l)}`;
    const { rows, columns } = matrixSize(layer, name);
    if (rows !== samples) {
      throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "all layers must hold the same samples", {
        wanted: `${samples} rows as layer ${numberOf(0)} has`,
        got: `${rows}`,
        where: name,
      });
    }
    const values = contiguousData(layer);
    for (let i = 0; i < values.length; i++) {
      if (!Number.isFinite(values[i])) {
        throw new LayerfoldError("POINTS_NOT_FINITE", "a sample holds NaN or an infinity", {
          wanted: "finite numbers",
          got: `${values[i]}`,
          where: `${name}, row ${Math.floor(i / columns)}`,
        });
      }
    }
  }
}

/** @throws SIMILARITY_NOT_A_NUMBER naming the pair */
export function checkValue(value: number, l: number, m: number, measure: string): void {
  if (Number.isNaN(value)) {
    throw new LayerfoldError("SIMILARITY_NOT_A_NUMBER", "the measure gave NaN", {
      wanted: "a number",
      where: `${measure} of layers ${l} and ${m}`,
    });
  }
}
