import { readStage, type Stage, stageIds, type TaskKinds, taskAt } from "./stage.js";
import type { Task } from "./task.js";
import type { TaskStore } from "./task-store.js";

/** Tasks of a store's stages, for a process that is told of them one by one: a stage is read once, however many tasks it has. */
export interface StageReader {
  /**
   * @returns nothing where the stage has been withdrawn
   * @throws RANK_MISSING; what `readStage` throws
   */
  task(id: string, rank: number): Promise<Task | undefined>;
}

export function stageReader(store: TaskStore, kinds: TaskKinds): StageReader {
  const read = new Map<string, Promise<Stage | undefined>>();
  return {
    async task(id, rank) {
      const standing = await stageIds(store);
      for (const known of read.keys()) if (!standing.includes(known)) read.delete(known);
      if (!standing.includes(id)) return undefined;
      const reading = read.get(id) ?? readStage(id, store, kinds);
      read.set(id, reading);
      reading.catch(() => read.delete(id));
      const stage = await reading;
      return stage && taskAt(stage, rank);
    },
  };
}
