import { LayerfoldError } from "@layerfold/core";
import { pythonRandom } from "./python-random.js";
import type { Row } from "./python-text.js";
import type { TaskConfig } from "./task-config.js";

/** Where a task's examples come from: a split, or rows in the file itself. */
export function fewshotSource(config: TaskConfig): {
  readonly split?: string;
  readonly rows?: readonly Row[];
} {
  const { fewshot_config, fewshot_split, training_split, validation_split, test_split } = config;
  const named = fewshot_config?.split ?? fewshot_split;
  if (named) return { split: named };
  if (fewshot_config?.samples) return { rows: fewshot_config.samples as readonly Row[] };
  const split = training_split ?? validation_split ?? test_split;
  return split ? { split } : {};
}

/** Draws the examples of one document after the other. */
export function fewshotSampler(
  config: TaskConfig,
  rows: readonly Row[],
  count: number,
  seed: number,
): (row: Row, where: string) => readonly Row[] {
  const { fewshot_config: shown } = config;
  const pool = shown?.fewshot_indices ? shown.fewshot_indices.map((index) => rows[index]) : rows;
  // As the harness tells whether a document may be among its own examples; none counts as equal to none.
  const sameSplit = (shown?.split ?? config.fewshot_split ?? null) === (config.test_split ?? null);
  const keys = new Map<Row, string>();
  const keyOf = (row: Row) => {
    const known = keys.get(row);
    if (known !== undefined) return known;
    const key = JSON.stringify(row);
    keys.set(row, key);
    return key;
  };
  const others = (row: Row, from: readonly Row[]) =>
    sameSplit ? from.filter((other) => keyOf(other) !== keyOf(row)) : from;
  const tooFew = (found: number, where: string) =>
    new LayerfoldError("FEWSHOT_TOO_FEW", "there are too few examples to show", {
      wanted: `${count}`,
      got: `${found}`,
      where,
    });
  if (shown?.sampler === "first_n") {
    return (row, where) => {
      const found = others(row, pool).slice(0, count);
      if (found.length < count) throw tooFew(found.length, where);
      return found;
    };
  }
  const random = pythonRandom(seed);
  return (row, where) => {
    const wanted = sameSplit ? count + 1 : count;
    if (pool.length < wanted) throw tooFew(pool.length, where);
    const drawn = others(
      row,
      random.sample(pool.length, wanted).map((index) => pool[index]),
    ).slice(0, count);
    if (drawn.length === count) return drawn;
    const left = others(row, pool);
    if (left.length < count) throw tooFew(left.length, where);
    return random.sample(left.length, count).map((index) => left[index]);
  };
}
