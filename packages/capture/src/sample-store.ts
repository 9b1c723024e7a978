import { LayerfoldError, type Matrix, type Rng, type TokenBatch, tensor } from "@layerfold/core";
import type { Pooling } from "./pooling.js";

/**
 * Keeps pooled samples of every layer, and no more than `maxSamples` of them: then each sample that came by has the same chance to
 * be among them (reservoir sampling; Vitter 1985, algorithm R), whatever the order of the batches.
 */
export class SampleStore {
  readonly #layers: Float32Array[];
  readonly #hiddenSize: number;
  readonly #pooling: Pooling;
  readonly #maxSamples: number;
  readonly #rng: Rng;
  #seen = 0;
  #kept = 0;

  constructor(layerCount: number, hiddenSize: number, pooling: Pooling, maxSamples: number, rng: Rng) {
    this.#layers = Array.from({ length: layerCount }, () => new Float32Array(0));
    this.#hiddenSize = hiddenSize;
    this.#pooling = pooling;
    this.#maxSamples = maxSamples;
    this.#rng = rng;
  }

  /** @param streams - one [batch, sequence, hidden] array per layer */
  add({ batchSize, sequenceLength, lengths }: TokenBatch, streams: readonly Float32Array[]): void {
    for (let row = 0; row < batchSize; row++) {
      const start = row * sequenceLength;
      const end = start + lengths[row];
      if (this.#pooling === "mean") this.#take(streams, start, end);
      else if (this.#pooling === "last") this.#take(streams, end - 1, end);
      else {
        const step = this.#pooling === "all" ? 1 : this.#pooling.every;
        for (let t = start + step - 1; t < end; t += step) this.#take(streams, t, t + 1);
      }
    }
  }

  /** @throws SAMPLES_EMPTY */
  matrices(): Matrix<Float32Array>[] {
    if (this.#kept === 0) {
      throw new LayerfoldError("SAMPLES_EMPTY", "pooling left no sample", {
        wanted: "texts with at least as many tokens as the pooling's step",
      });
    }
    return this.#layers.map((data) =>
      tensor(data.slice(0, this.#kept * this.#hiddenSize), [this.#kept, this.#hiddenSize]),
    );
  }

  /** Offers the mean of token rows `from` … `to`−1. */
  #take(streams: readonly Float32Array[], from: number, to: number): void {
    const slot = this.#seen++ < this.#maxSamples ? this.#kept++ : this.#rng.integer(this.#seen);
    if (slot >= this.#maxSamples) return;
    const width = this.#hiddenSize;
    const at = slot * width;
    streams.forEach((stream, layer) => {
      const data = this.#room(layer, at + width);
      if (to - from === 1) {
        data.set(stream.subarray(from * width, to * width), at);
        return;
      }
      for (let k = 0; k < width; k++) {
        let sum = 0;
        for (let t = from; t < to; t++) sum += stream[t * width + k];
        data[at + k] = sum / (to - from);
      }
    });
  }

  #room(layer: number, size: number): Float32Array {
    const data = this.#layers[layer];
    if (data.length >= size) return data;
    const larger = new Float32Array(Math.max(size, 2 * data.length));
    larger.set(data);
    this.#layers[layer] = larger;
    return larger;
  }
}
