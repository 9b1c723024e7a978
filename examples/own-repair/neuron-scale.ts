/**
 * A repair of one's own, in one file: one factor for every neuron of an MLP.
 *
 * In code it is used like any other: `foldCheckpoint(checkpoint, plan, { repair: neuronScale({ ridge: [1e-2] }), … }, ctx)`. The command line
 * takes it by path: `layerfold merge MODEL --plan plan.json --repair ./neuron-scale.ts --calibration F --set repair.ridge=0.01 --out DIR`.
 */
import { contiguousData, defineRepair, type Matrix, tensor, z } from "@layerfold/core";
import {
  downOutput,
  firstReason,
  fitOptions,
  groupByGroup,
  hiddenEquations,
  type NormalEquations,
  ridgeFit,
  specOf,
  storedWeight,
  symmetricMap,
  transposed,
  weightOf,
  whyMlpStays,
  withTensors,
} from "@layerfold/merge";

const optionsSchema = z.strictObject(fitOptions);

/**
 * Multiplies what each neuron of a block's MLP adds to the stream by a factor of its own, so that the stream behind the block comes nearest to the
 * dense model's: d = argmin Σ ‖Σ_j d_j·h_j·w_j − t‖² + λ‖d − 1‖², h the neurons' activations on the folded stream, w_j the down projection's
 * column, t what the MLP would have to add. As many numbers as neurons, where refitting the projection (`reconstruct`) has as many as weights: for
 * calibration texts too short for that.
 *
 * Cost per block: two runs of it, tokens · neurons² for the Gram, neurons³ for the solution.
 *
 * @throws REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY
 */
const neuronScale = defineRepair({
  id: "neuron-scale",
  summary: "one factor for what each neuron of a kept block adds to the stream",
  optionsSchema,
  create: (options) => ({
    // Said before anything long is computed, from the layers' specs alone.
    refuses: (layers) => firstReason(layers, ({ spec }) => whyMlpStays(spec)),
    // Once per group, from the front, with the calibration's streams before and behind it.
    fit: groupByGroup(options, async (model, group, block, fit, ctx) => {
      // [neurons, hidden]: row j is what neuron j adds to the stream.
      const columns = transposed(weightOf(block, "mlp.down"));
      const { equations, ridge } = await hiddenEquations(
        model,
        group,
        block,
        columns,
        downOutput(block),
        fit,
        ctx,
      );
      const products = await ctx.engine.matmul(columns, columns, { transposeB: true });
      const [neurons, hidden] = columns.shape;
      const ones = tensor(new Float64Array(neurons).fill(1), [neurons, 1]);
      const factors = await ridgeFit(perNeuron(equations, columns, products), ones, ridge, ctx);
      const scaled = contiguousData(columns).map((w, at) => w * factors.data[Math.floor(at / hidden)]);
      const weight = transposed(tensor(scaled, [neurons, hidden]));
      return withTensors(block, [["mlp.down", storedWeight(specOf(block), weight)]]);
    }),
  }),
});

export default neuronScale;

/**
 * The normal equations of the factors, from those of the whole projection: Gram ∘ (W·Wᵀ), and row by row the product of cross and W.
 * @param columns - [neurons, hidden] W
 * @param products - [neurons, neurons] W·Wᵀ
 */
function perNeuron(
  { gram, cross }: NormalEquations,
  columns: Matrix<Float32Array>,
  products: Matrix<Float32Array>,
): NormalEquations {
  const [neurons, hidden] = columns.shape;
  const values = contiguousData(columns);
  const targets = new Float64Array(neurons);
  for (let j = 0; j < neurons; j++) {
    for (let at = j * hidden; at < (j + 1) * hidden; at++) targets[j] += cross.data[at] * values[at];
  }
  return {
    gram: symmetricMap(gram, (value, row, column) => value * products.data[row * neurons + column]),
    cross: tensor(targets, [neurons, 1]),
  };
}
