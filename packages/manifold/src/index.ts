export { diffusionMap } from "./diffusion-map.js";
export { identity } from "./identity.js";
