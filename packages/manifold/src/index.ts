export { autoencoder } from "./autoencoder.js";
export { diffusionMap } from "./diffusion-map.js";
export { identity } from "./identity.js";
export { laplacianEigenmap } from "./laplacian-eigenmap.js";
export { pca } from "./pca.js";
export { randomProjection } from "./random-projection.js";
export { tSne } from "./t-sne.js";
