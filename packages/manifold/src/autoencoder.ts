import {
  defineEmbedding,
  type FittedEmbedding,
  type Floats,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type Rng,
  type RunContext,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { adam, centerPoints } from "@layerfold/linalg";
import { takeRows } from "./take-rows.js";

const optionsSchema = z.strictObject({
  dimensions: z.int().min(1).default(2).describe("coordinates of a sample: units of the code"),
  hiddenSize: z.int().min(1).default(64).describe("units of the hidden layer on either side of the code"),
  epochs: z.int().min(1).default(200).describe("passes over the samples"),
  batchSize: z.int().min(1).default(256).describe("samples of one step"),
  learningRate: z.number().positive().default(3e-3).describe("step size of Adam"),
});

/** One dense layer. */
interface DenseLayer {
  /** [inputs, outputs] */
  readonly weight: Parameter;
  /** [outputs] */
  readonly bias: Parameter;
  readonly inputs: number;
  readonly outputs: number;
  readonly tanh: boolean;
}

interface Parameter {
  readonly values: Floats;
  /** Moves the values against their slope. */
  readonly move: ReturnType<typeof adam>;
}

/**
 * A small autoencoder (Hinton & Salakhutdinov 2006): features → hidden (tanh) → d → hidden (tanh) → features, trained with Adam (Kingma
 * & Ba 2015) on the mean squared error of the centred points, scaled to unit mean square. The code of a sample is its coordinates.
 *
 * `fit` returns coordinates [samples, d] float64 and `transform` (the encoder). Weights and the order of batches come from `ctx.rng`.
 * The error left, as a share of the variance, is reported as AUTOENCODER_ERROR (info).
 *
 * Errors: POINTS_NOT_FINITE, POINTS_IDENTICAL, INTERRUPTED. O(epochs · samples · features · hidden) in the engine, in the points' dtype.
 */
export const autoencoder = defineEmbedding({
  id: "autoencoder",
  summary: "the code of a small autoencoder, trained on the spot",
  optionsSchema,
  create: (options) => ({
    async fit(points: Matrix, ctx: RunContext): Promise<FittedEmbedding> {
      const { rows, columns } = matrixSize(points, "points");
      const { centered, mean } = centerPoints(points);
      let square = 0;
      for (const value of centered.data) square += (value * value) / centered.data.length;
      if (!(square > 0)) {
        throw new LayerfoldError("POINTS_IDENTICAL", "all samples coincide: there is nothing to embed", {
          wanted: "samples that differ",
          where: "points",
        });
      }
      const scale = 1 / Math.sqrt(square);
      for (let i = 0; i < centered.data.length; i++) centered.data[i] *= scale;

      const rng = ctx.rng.fork("autoencoder");
      const isFloat64 = centered.data instanceof Float64Array;
      const sizes = [columns, options.hiddenSize, options.dimensions, options.hiddenSize, columns];
      const layers = sizes
        .slice(1)
        .map((outputs, k) => denseLayer(sizes[k], outputs, k % 2 === 0, isFloat64, rng));
      const batchSize = Math.min(options.batchSize, rows);
      for (let epoch = 0; epoch < options.epochs; epoch++) {
        throwIfAborted(ctx.signal);
        const order = rng.permutation(rows);
        for (let from = 0; from < rows; from += batchSize) {
          const batch = takeRows(centered, order.subarray(from, from + batchSize));
          await trainStep(layers, batch, options.learningRate, ctx);
        }
        ctx.report?.({
          type: "progress",
          stage: "autoencoder",
          done: epoch + 1,
          total: options.epochs,
          unit: "epochs",
        });
      }
      const outputs = await forward(layers, centered, ctx);
      let error = 0;
      const rebuilt = outputs[layers.length].data;
      for (let i = 0; i < rebuilt.length; i++) error += (rebuilt[i] - centered.data[i]) ** 2 / rebuilt.length;
      ctx.report?.({
        type: "diagnostic",
        severity: "info",
        code: "AUTOENCODER_ERROR",
        message: `the autoencoder leaves ${(100 * error).toFixed(2)} % of the variance`,
      });
      const widen = (m: Matrix) => tensor(new Float64Array(m.data), m.shape);
      return {
        coordinates: widen(outputs[2]),
        async transform(more: Matrix, context: RunContext) {
          const queries = centerPoints(more, mean).centered;
          for (let i = 0; i < queries.data.length; i++) queries.data[i] *= scale;
          return widen((await forward(layers.slice(0, 2), queries, context))[2]);
        },
      };
    },
  }),
});

/** Glorot & Bengio (2010) initialisation: variance 2 / (inputs + outputs). */
function denseLayer(
  inputs: number,
  outputs: number,
  tanh: boolean,
  isFloat64: boolean,
  rng: Rng,
): DenseLayer {
  const deviation = Math.sqrt(2 / (inputs + outputs));
  const parameter = (count: number, value: () => number): Parameter => {
    const values = isFloat64
      ? Float64Array.from({ length: count }, value)
      : Float32Array.from({ length: count }, value);
    return { values, move: adam(values) };
  };
  return {
    inputs,
    outputs,
    tanh,
    weight: parameter(inputs * outputs, () => deviation * rng.normal()),
    bias: parameter(outputs, () => 0),
  };
}

/** The input and every layer's output. */
async function forward(layers: readonly DenseLayer[], input: Matrix, ctx: RunContext): Promise<Matrix[]> {
  const outputs = [input];
  for (const { weight, bias, inputs, outputs: width, tanh } of layers) {
    const out = await ctx.engine.matmul<Matrix>(
      outputs[outputs.length - 1],
      tensor(weight.values, [inputs, width]),
    );
    for (let i = 0; i < out.data.length; i++) {
      const value = out.data[i] + bias.values[i % width];
      out.data[i] = tanh ? Math.tanh(value) : value;
    }
    outputs.push(out);
  }
  return outputs;
}

/** One Adam step on the mean squared error of a batch against itself. */
async function trainStep(
  layers: readonly DenseLayer[],
  batch: Matrix,
  learningRate: number,
  ctx: RunContext,
): Promise<void> {
  const outputs = await forward(layers, batch, ctx);
  let slope = outputs[layers.length];
  for (let i = 0; i < slope.data.length; i++)
    slope.data[i] = (2 * (slope.data[i] - batch.data[i])) / slope.data.length;
  for (let k = layers.length - 1; k >= 0; k--) {
    const { weight, bias, inputs, outputs: width, tanh } = layers[k];
    if (tanh) {
      const { data } = outputs[k + 1];
      for (let i = 0; i < data.length; i++) slope.data[i] *= 1 - data[i] * data[i];
    }
    const weightSlope = await ctx.engine.matmul<Matrix>(outputs[k], slope, { transposeA: true });
    const biasSlope = new Float64Array(width);
    for (let i = 0; i < slope.data.length; i++) biasSlope[i % width] += slope.data[i];
    if (k > 0) {
      slope = await ctx.engine.matmul<Matrix>(slope, tensor(weight.values, [inputs, width]), {
        transposeB: true,
      });
    }
    weight.move(weightSlope.data, learningRate);
    bias.move(biasSlope, learningRate);
  }
}
