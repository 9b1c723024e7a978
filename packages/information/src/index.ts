export { gaussianMutualInformation } from "./gaussian-mutual-information.js";
export { entropy } from "./kozachenko-leonenko-entropy.js";
export { type KsgOptions, mutualInformation } from "./ksg-mutual-information.js";
export { npib } from "./npib.js";
export { rankHistogramInformation } from "./rank-histogram.js";
export { univariateMutualInformation } from "./univariate-mutual-information.js";
