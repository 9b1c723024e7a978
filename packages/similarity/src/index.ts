export { angular } from "./angular.js";
export { blockInfluence } from "./block-influence.js";
export { blockSimilarity } from "./block-similarity.js";
export type { SimilarityOptions } from "./compared-layers.js";
export { cosine } from "./cosine.js";
export { euclidean } from "./euclidean.js";
export { random } from "./random.js";
export { similarityMatrix } from "./similarity-matrix.js";
