export { codeDigest } from "./code-digest.js";
export { type Codec, folderCodec, jsonCodec } from "./codec.js";
export type { ExecutionContext, Executor } from "./executor.js";
export { folderStore } from "./folder-store.js";
export { type Json, jsonDigest } from "./json.js";
export type { LeaseOptions } from "./lease.js";
export { type LocalExecutorOptions, localExecutor } from "./local-executor.js";
export { type OpenedStore, openFolderStore, removeFolderStore } from "./opened-store.js";
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
  type TaskInputs,
  withContent,
} from "./task.js";
export type { ArtefactFile, ArtefactRecord, Lease, Made, TaskStore } from "./task-store.js";
