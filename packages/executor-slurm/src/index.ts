export { type SlurmOptions, slurmOptions } from "./slurm-options.js";
export { openPool, type SlurmRequest } from "./slurm-pool.js";
