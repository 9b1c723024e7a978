export { adam } from "./adam.js";
export { addGram } from "./add-gram.js";
export { type CenteredPoints, centerPoints, columnMean, requireFinite } from "./centered-points.js";
export { cholesky, choleskySolve, solveTriangular, symmetricInverse, triangularInverse } from "./cholesky.js";
export { gram } from "./gram.js";
export {
  type LargestEigenpairsOptions,
  largestEigenpairs,
  type SymmetricOperator,
} from "./largest-eigenpairs.js";
export { type Neighbors, nearestNeighbors } from "./nearest-neighbors.js";
export { portableEngine } from "./portable-engine.js";
export { median, orderStatistic, quantile } from "./quantile.js";
export { ascendingOrder, averageRanks, randomTieRanks } from "./ranks.js";
export { type RidgeProblem, type RidgeSolution, ridgeLeastSquares, ridgeSolution } from "./ridge.js";
export { seededRng } from "./seeded-rng.js";
export { squaredDistances, squaredDistancesTo } from "./squared-distances.js";
export { type Eigenpairs, symmetricEigen } from "./symmetric-eigen.js";
export {
  addSymmetric,
  type SymmetricTiles,
  symmetricCopy,
  symmetricDiagonal,
  symmetricFrom,
  symmetricMap,
  symmetricPart,
  symmetricPrincipal,
  symmetricZeros,
} from "./symmetric-tiles.js";
export { symmetricWithout } from "./symmetric-without.js";
export {
  addSymmetricGram,
  symmetricProduct,
  tiledCholesky,
  tiledInverse,
  tiledSolve,
} from "./tiled-cholesky.js";
