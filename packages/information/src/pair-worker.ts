// A worker thread of comparePairs: takes pairs of layers until none is left.
import { parentPort, workerData } from "node:worker_threads";
import {
  estimateInformation,
  type InformationOptions,
  type PreparedPoints,
  preparePoints,
} from "./estimate-information.js";

/** What the threads share: the layers' points, the next pair to take, and the values. */
export interface PairWork {
  readonly options: InformationOptions;
  readonly layers: readonly { values: Float64Array; count: number; dimensions: number }[];
  /** [pairs, 2] the layers of each pair. */
  readonly pairs: Int32Array;
  /** [1] pairs taken so far. */
  readonly taken: Int32Array;
  /** [pairs] nats. */
  readonly information: Float64Array;
}

const { options, layers, pairs, taken, information } = workerData as PairWork;
const prepared = new Map<number, PreparedPoints>();
const layer = (l: number) => {
  const known = prepared.get(l) ?? preparePoints(layers[l], options);
  prepared.set(l, known);
  return known;
};
for (;;) {
  const pair = Atomics.add(taken, 0, 1);
  if (pair >= information.length) break;
  information[pair] = estimateInformation(layer(pairs[2 * pair]), layer(pairs[2 * pair + 1]), options);
  parentPort?.postMessage(pair);
}
