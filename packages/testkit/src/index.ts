export type { ConformanceCheck } from "./conformance.js";
export { type EmbeddingCheckOptions, embeddingChecks } from "./embedding-checks.js";
export { readGolden } from "./golden.js";
export { mountedDisk } from "./mounted-disk.js";
export { randomMatrix } from "./random-matrix.js";
export { type SimilarityMeasureCheckOptions, similarityMeasureChecks } from "./similarity-measure-checks.js";
export { testContext } from "./test-context.js";
export { type TinyLlamaOptions, writeTinyLlama } from "./tiny-llama.js";
