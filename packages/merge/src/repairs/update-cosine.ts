import { type Hidden, type Matrix, type RunContext, type Tensor, tensor } from "@layerfold/core";
import { ridgeLeastSquares } from "@layerfold/linalg";
import { type CalibratedGroup, eachToken, type GroupBatch } from "./front-to-back.js";
import { addRows, emptyEquations, gatherRows } from "./normal-equations.js";

/** One batch as the fit of a map sees it: update·T + rest should point where the target points. */
export interface UpdateRows {
  readonly update: Tensor<Float32Array>;
  /** What else is in the stream: the stream behind the block less the update. */
  readonly rest: Tensor<Float32Array>;
}

/** Below this gain in the mean cosine a step is not worth another pass over the text. */
const enough = 1e-6;
const halvings = 5;

/**
 * Raises E cos(M·T + Y, Z) over T from a first map on, by steps that least squares gives in closed form. With P = M·T + Y, r = ‖P‖ and
 * c = cos(P, Z) of each token, the squared error to the target (r/c)·Z/‖Z‖, weighted by c/r², has at T the gradient of −E cos; its
 * minimiser, ridge-damped towards T, so lies downhill, and the step there is halved until the cosine rises. It never falls. Tokens with
 * c ≤ 0 have no such target: they are judged but give no step.
 *
 * Cost per step: a Gram of the text and some products tokens · hidden². Memory: some hidden² float64 matrices.
 */
export async function raiseCosine(
  group: CalibratedGroup,
  observe: (batch: GroupBatch) => Promise<UpdateRows>,
  start: Matrix<Float64Array>,
  { ridge, steps }: { readonly ridge: number; readonly steps: number },
  ctx: RunContext,
): Promise<{ map: Matrix<Float64Array>; before: number; after: number }> {
  const size = start.shape[0];
  const judge = async (map: Matrix<Float64Array>) => {
    let [sum, tokens] = [0, 0];
    for await (const batch of group.batches()) {
      const { angles } = await compare(batch.target, await observe(batch), map, ctx);
      for (const { cosine } of angles) sum += cosine;
      tokens += angles.length;
    }
    return sum / tokens;
  };
  let map = start;
  let reached = await judge(map);
  const before = reached;
  for (let step = 0; step < steps; step++) {
    const equations = emptyEquations(size, size);
    for await (const batch of group.batches()) {
      const rows = await observe(batch);
      const { angles } = await compare(batch.target, rows, map, ctx);
      const scales = Float64Array.from(angles, ({ cosine, length }) =>
        cosine > 0 ? Math.sqrt(cosine) / length : 0,
      );
      const wanted = tensor(new Float32Array(rows.rest.data.length), rows.rest.shape);
      const { data } = batch.target.states;
      eachToken(batch.target, (at, token) => {
        const { cosine, length, targetLength } = angles[token];
        const factor = cosine > 0 ? length / (cosine * targetLength) : 0;
        for (let i = at; i < at + size; i++) wanted.data[i] = factor * data[i] - rows.rest.data[i];
      });
      const { lengths } = batch.target;
      await addRows(
        equations,
        gatherRows([rows.update], lengths, scales),
        gatherRows([wanted], lengths, scales),
        ctx,
      );
    }
    const there = await ridgeLeastSquares({ ...equations, ridge, prior: map, overwrite: true }, ctx);
    let share = 1;
    let gain = 0;
    for (let halving = 0; halving < halvings; halving++, share /= 2) {
      const from = map.data;
      const between = tensor(
        from.map((x, i) => x + share * (there.data[i] - x)),
        map.shape,
      ) as Matrix<Float64Array>;
      const cosine = await judge(between);
      gain = cosine - reached;
      if (gain <= 0) continue;
      map = between;
      reached = cosine;
      break;
    }
    if (gain < enough) break;
  }
  return { map, before, after: reached };
}

/** Of every real token: the cosine of M·T + Y with the target, and the lengths of both. */
async function compare(
  target: Hidden,
  { update, rest }: UpdateRows,
  map: Matrix<Float64Array>,
  ctx: RunContext,
) {
  const size = map.shape[0];
  const rows = update.data.length / size;
  const single = tensor(Float32Array.from(map.data), map.shape) as Matrix<Float32Array>;
  const flat = tensor(update.data, [rows, size]) as Matrix<Float32Array>;
  const { data } = await ctx.engine.matmul(flat, single);
  const angles: { cosine: number; length: number; targetLength: number }[] = [];
  eachToken(target, (at) => {
    let [dot, own, other] = [0, 0, 0];
    for (let i = at; i < at + size; i++) {
      const p = data[i] + rest.data[i];
      const z = target.states.data[i];
      dot += p * z;
      own += p * p;
      other += z * z;
    }
    const [length, targetLength] = [Math.sqrt(own), Math.sqrt(other)];
    angles.push({ cosine: dot / (length * targetLength), length, targetLength });
  });
  return { angles };
}
