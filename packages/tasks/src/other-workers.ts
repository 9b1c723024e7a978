import type { WorkerPool } from "./worker-pool.js";

/** Tasks that are asked for side by side: how many workers there are nobody knows. */
const width = 16;

/** Workers that somebody else starts, on any machine that sees the store (`layerfold work`): they are waited for. */
export function otherWorkers(): WorkerPool {
  const told = new Set<string>();
  return {
    width,
    async begin(_, { location }, ctx) {
      if (!told.has(location)) {
        ctx.report?.({
          type: "status",
          message: `Tasks wait for workers: layerfold work --store ${location}`,
        });
      }
      told.add(location);
      return { cancel: async () => {} };
    },
    close: async () => {},
  };
}
