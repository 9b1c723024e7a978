export { openPool } from "./queue-pool.js";
export { type QueueWorkerOptions, workQueue } from "./queue-worker.js";
export { serveTasks } from "./task-process.js";
