import { isTask, type Stage } from "@layerfold/tasks";

/** Elements of one job array: those of ranks `offset` + index. */
export interface JobArray {
  readonly offset: number;
  /** Ascending. */
  readonly indices: readonly number[];
}

/**
 * Ranks in the order in which they can be made: none reads what a rank of its own level or a later one makes.
 * @returns ascending ranks by level
 */
export function levelsOf({ tasks }: Stage): number[][] {
  const ranks = new Map(tasks.map(({ digest }, rank) => [digest, rank]));
  const known = new Map<string, number>();
  const levels: number[][] = [];
  tasks.forEach((task, rank) => {
    // None stands before one that it reads, so that these have their level.
    const below = Object.values(task.inputs).map((input) => {
      const inStage = input && isTask(input) && ranks.has(input.digest);
      return inStage ? (known.get(input.digest) ?? -1) : -1;
    });
    const level = 1 + Math.max(-1, ...below);
    known.set(task.digest, level);
    levels[level] ??= [];
    levels[level].push(rank);
  });
  return levels;
}

/**
 * Splits ranks into arrays whose indices the cluster takes.
 * @param ranks - ascending
 * @param maxArraySize - indices are below it
 */
export function jobArrays(ranks: readonly number[], maxArraySize: number): JobArray[] {
  const arrays = new Map<number, number[]>();
  for (const rank of ranks) {
    const index = rank % maxArraySize;
    const offset = rank - index;
    const indices = arrays.get(offset) ?? [];
    arrays.set(offset, indices);
    indices.push(index);
  }
  return [...arrays].map(([offset, indices]) => ({ offset, indices }));
}

/** As `sbatch --array` reads it: 0-3,7. @param atOnce - elements that may run at a time */
export function indexExpression(indices: readonly number[], atOnce?: number): string {
  const runs: [first: number, last: number][] = [];
  for (const index of indices) {
    const run = runs.at(-1);
    if (run && index === run[1] + 1) run[1] = index;
    else runs.push([index, index]);
  }
  const expression = runs
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
    .join(",");
  return atOnce === undefined ? expression : `${expression}%${atOnce}`;
}
