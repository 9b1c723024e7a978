/** How fast an affinity falls with distance. */
export type KernelName = "mka" | "gaussian" | "self-tuning";

/** An affinity in [0, 1] of a squared distance; `scale` is the bandwidth, or for local kernels the product of two points' scales. */
export type Kernel = (squaredDistance: number, scale: number) => number;

/**
 * - `mka`: exp(−(D/σ)^½), scale = σ, the kernel of MKA (arXiv 2406.16330, §3.1). Its slope at D = 0 is infinite.
 * - `gaussian`: exp(−D²/ε), scale = ε (Coifman & Lafon 2006).
 * - `self-tuning`: exp(−D²/(σᵢσⱼ)), scale = σᵢσⱼ, σᵢ the distance to a near neighbour (Zelnik-Manor & Perona 2004).
 */
export const kernels: Readonly<Record<KernelName, Kernel>> = {
  mka: (squaredDistance, scale) => Math.exp(-Math.sqrt(Math.sqrt(squaredDistance) / scale)),
  gaussian: (squaredDistance, scale) => Math.exp(-squaredDistance / scale),
  "self-tuning": (squaredDistance, scale) => Math.exp(-squaredDistance / scale),
};
