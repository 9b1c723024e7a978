import { tensor } from "@layerfold/core";
import { symmetricEigen } from "@layerfold/linalg";
import type { NearestSamples } from "./neighbor-grid.js";
import type { Points } from "./read-points.js";

/**
 * The local non-uniformity correction of Gao, Ver Steeg & Galstyan 2015 (AISTATS; arXiv 1411.2003, eq. 11), in nats, to be added to an
 * estimate: −⟨log(V̄(i) / V(i))⟩ over the samples where V̄(i) < threshold · V(i), V(i) being the volume of the cube of half side ε(i) and
 * V̄(i) that of the box along the principal axes of the sample's k neighbours. k should exceed the joint dimension.
 *
 * O(n · (k d² + d³)), d the joint dimension.
 */
export function nonUniformityCorrection(
  x: Points,
  y: Points,
  { distance, neighbors }: NearestSamples,
  threshold: number,
): number {
  const { count } = x;
  const width = x.dimensions + y.dimensions;
  const neighborCount = neighbors.length / count;
  const offsets = new Float64Array(neighborCount * width);
  const scatter = new Float64Array(width * width);
  const logThreshold = Math.log(threshold);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    if (distance[i] === 0) continue;
    for (let k = 0; k < neighborCount; k++) {
      const j = neighbors[i * neighborCount + k];
      let at = k * width;
      for (const { values, dimensions } of [x, y]) {
        for (let c = 0; c < dimensions; c++, at++) {
          offsets[at] = (values[j * dimensions + c] - values[i * dimensions + c]) / distance[i];
        }
      }
    }
    scatter.fill(0);
    for (let at = 0; at < offsets.length; at += width) {
      for (let a = 0; a < width; a++) {
        for (let b = 0; b < width; b++) scatter[a * width + b] += offsets[at + a] * offsets[at + b];
      }
    }
    const { vectors } = symmetricEigen(tensor(scatter, [width, width]));
    let logShare = 0;
    for (let axis = 0; axis < width; axis++) {
      let extent = 0;
      for (let at = 0; at < offsets.length; at += width) {
        let along = 0;
        for (let c = 0; c < width; c++) along += offsets[at + c] * vectors.data[c * width + axis];
        extent = Math.max(extent, Math.abs(along));
      }
      logShare += Math.log(extent);
    }
    if (logShare < logThreshold && Number.isFinite(logShare)) sum += logShare;
  }
  return -sum / count;
}
