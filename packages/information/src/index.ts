export { gaussianMutualInformation } from "./gaussian-mutual-information.js";
export { entropy } from "./kozachenko-leonenko-entropy.js";
export { type KsgOptions, mutualInformation } from "./ksg-mutual-information.js";
export { mkaReleasedCode } from "./mka-released-code.js";
export { npib } from "./npib.js";
export { permutationTest } from "./permutation-test.js";
export { rankHistogramInformation } from "./rank-histogram.js";
export { subsampleInterval } from "./subsample-interval.js";
export { univariateMutualInformation } from "./univariate-mutual-information.js";
