import { defineStrategy, z } from "@layerfold/core";
import { normPolicy, tensorwise, weightedSum } from "./tensorwise.js";

/** Below this sine of the angle between two tensors the great circle is a straight line to float32's precision. */
const straight = 1e-6;

/**
 * Spherical interpolation, tensor by tensor, from the front of the group to its back: slerp(u, v; t) = sin((1 − t)Ω)/sin Ω · u +
 * sin(tΩ)/sin Ω · v with cos Ω = u·v / (‖u‖‖v‖) (Shoemake 1985). Of accumulated weights p and the next layer's w, t = w / (p + w).
 * Tensors that are parallel, or of which one is zero, are interpolated linearly.
 *
 * @throws LAYERS_INCOMPATIBLE
 */
export const slerp = defineStrategy({
  id: "slerp",
  summary: "spherical interpolation of the layers' tensors",
  optionsSchema: z.strictObject({ norms: normPolicy }),
  create: ({ norms }) => ({
    tensorwise: norms !== "fold",
    merge: tensorwise((values, weights) => {
      let merged = values[0];
      let weight = weights[0];
      for (let k = 1; k < values.length; k++) {
        weight += weights[k];
        if (weights[k] !== 0) merged = interpolate(merged, values[k], weights[k] / weight);
      }
      return merged;
    }, norms),
  }),
});

function interpolate(u: Float32Array, v: Float32Array, t: number): Float32Array {
  let [uu, uv, vv] = [0, 0, 0];
  for (let i = 0; i < u.length; i++) {
    uu += u[i] * u[i];
    uv += u[i] * v[i];
    vv += v[i] * v[i];
  }
  const cosine = uv / Math.sqrt(uu * vv);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  if (!(sine > straight)) return weightedSum([u, v], [1 - t, t]);
  return weightedSum([u, v], [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine]);
}
