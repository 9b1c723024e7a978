export { codeDigest } from "./code-digest.js";
export { type Codec, folderCodec, jsonCodec } from "./codec.js";
export type { ExecutionContext, Executor } from "./executor.js";
export { errorOf, type Failure, readFailure } from "./failure.js";
export { folderStore, isFolderStore } from "./folder-store.js";
export { type Holder, holderRuns, newHolder } from "./holder.js";
export { type Json, jsonDigest } from "./json.js";
export type { LeaseOptions } from "./lease.js";
export { type LocalExecutorOptions, localExecutor, workerExecutor } from "./local-executor.js";
export { existingFolderStore, openFolderStore, removeFolderStore } from "./opened-store.js";
export { otherWorkers } from "./other-workers.js";
export {
  enterStore,
  gate,
  type OpenedStore,
  removeStore,
  type StoreContents,
  type StorePlace,
} from "./presence.js";
export { type ProcessWorkersOptions, processWorkers } from "./process-workers.js";
export { parseRecord, recordFile } from "./record.js";
export {
  readStage,
  readStageFacts,
  type Stage,
  type StageFacts,
  stageIds,
  type TaskKinds,
  withdrawStage,
} from "./stage.js";
export { type StageReader, stageReader } from "./stage-reader.js";
export { type StoreCheckOptions, taskStoreChecks } from "./store-checks.js";
export { checkMark, foreignStore, markFile, markText } from "./store-mark.js";
export {
  type FailedTask,
  type FinishedKind,
  type RunningTask,
  type StageStatus,
  type StoreStatus,
  storeStatus,
} from "./store-status.js";
export {
  type Artefact,
  type Closable,
  defineTask,
  isTask,
  type Resources,
  type Share,
  type Task,
  type TaskContext,
  type TaskDefinition,
  type TaskFactory,
  type TaskInputs,
  withContent,
} from "./task.js";
export type {
  ArtefactFile,
  ArtefactRecord,
  Lease,
  LeaseHolder,
  Made,
  Notes,
  TaskStore,
} from "./task-store.js";
export {
  attempt,
  type Outcome,
  type WorkCounts,
  type WorkerOptions,
  type WorkOptions,
  work,
  workRank,
  workTask,
} from "./worker.js";
export type { BegunStage, PoolContext, WorkerPool } from "./worker-pool.js";
