import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import { dataExtensions, readDataFile } from "./data-file.js";
import type { Row } from "./python-text.js";
import type { TaskConfig } from "./task-config.js";

/** What is known of a data set's place. */
type DataSet = Pick<TaskConfig, "task" | "dataset_path" | "dataset_name" | "dataset_kwargs">;

/**
 * Where a split of a task may lie in a folder, without the ending, in the order of search. SET is the last part of `dataset_path`, CONFIG is
 * `dataset_name`.
 *
 * - `TASK/SPLIT`, `TASK-SPLIT`, `TASK_SPLIT`
 * - as the hub has it: `ORG/SET` or `SET`, in it `CONFIG/SPLIT`, `data/CONFIG/SPLIT`, `data/SPLIT`, `SPLIT`, each also in pieces
 *   (`SPLIT-00000-of-00002`)
 * - as the authors of MMLU have it: `SET/SPLIT/CONFIG_SPLIT`
 * - `TASK`, for the split that is evaluated
 */
export function dataNames(
  { task, dataset_path, dataset_name }: DataSet,
  split: string,
  evaluated = false,
): string[] {
  const set = basename(dataset_path ?? task);
  const roots = [...new Set([dataset_path ?? set, set])];
  const config = dataset_name ?? "";
  const inside = [
    ...(config ? [`${config}/${split}`, `data/${config}/${split}`] : []),
    `data/${split}`,
    split,
  ];
  return [
    `${task}/${split}`,
    `${task}-${split}`,
    `${task}_${split}`,
    ...roots.flatMap((root) => inside.map((name) => `${root}/${name}`)),
    ...(config ? roots.map((root) => `${root}/${split}/${config}_${split}`) : []),
    ...(evaluated ? [task] : []),
  ];
}

/** The files of a split, undefined where there is none. */
export async function findData(
  folder: string,
  set: DataSet,
  split: string,
  evaluated = false,
): Promise<string[] | undefined> {
  for (const name of dataNames(set, split, evaluated)) {
    const path = join(folder, name);
    const files = await listed(join(path, ".."));
    const stem = basename(path);
    for (const extension of dataExtensions) {
      const one = [`${stem}${extension}`, `${stem}${extension}.gz`].find((file) => files.includes(file));
      if (one !== undefined) return [join(path, "..", one)];
      const pieces = files.filter(
        (file) =>
          file.startsWith(`${stem}-`) &&
          /^-\d{5}-of-\d{5}/.test(file.slice(stem.length)) &&
          file.endsWith(extension),
      );
      if (pieces.length > 0) return pieces.sort().map((file) => join(path, "..", file));
    }
  }
  return undefined;
}

async function listed(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

/**
 * Reads a split of a task from a folder.
 * @throws DATA_MISSING naming where it was looked for, and what `readDataFile` throws
 */
export async function readSplit(
  folder: string,
  set: DataSet,
  split: string,
  evaluated: boolean,
  report?: RunContext["report"],
): Promise<{ readonly rows: readonly Row[]; readonly files: readonly string[] }> {
  const files = await findData(folder, set, split, evaluated);
  if (!files) {
    throw new LayerfoldError("DATA_MISSING", `there is no data for the split "${split}" of ${set.task}`, {
      wanted: `one of ${dataNames(set, split, evaluated).join(", ")} with an ending of ${dataExtensions.join(", ")}`,
      where: folder,
    });
  }
  const rows: Row[] = [];
  for (const file of files) rows.push(...(await readTaskRows(file, set, report)));
  return { rows, files };
}

/** The rows of one file. A CSV file that a task gives columns for has a heading where its first row is none of the data. */
export function readTaskRows(
  file: string,
  { dataset_kwargs }: Pick<DataSet, "dataset_kwargs">,
  report?: RunContext["report"],
): Promise<Row[]> {
  return readDataFile(file, { columnNames: dataset_kwargs?.column_names, report });
}
