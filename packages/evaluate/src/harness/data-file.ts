import { open } from "node:fs/promises";
import { readTextFile, textExtension } from "@layerfold/checkpoint";
import { LayerfoldError, parseJson, type RunContext } from "@layerfold/core";
import { parse } from "csv-parse/sync";
import { parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import type { Row, Value } from "./python-text.js";

export interface DataFileOptions {
  /** Of a CSV file without a heading. */
  readonly columnNames?: readonly string[] | undefined;
  readonly report?: RunContext["report"];
}

/** Endings of files that `readDataFile` reads; text may be packed (`.gz`). */
export const dataExtensions = [".jsonl", ".json", ".csv", ".parquet"] as const;

/**
 * Reads the rows of a data file: JSON lines, a JSON list of objects, CSV, or Parquet.
 * @throws QUESTIONS_EMPTY, TASK_ROW_INVALID naming the line, DATA_FORMAT for another ending, PARQUET_INVALID, and what `readTextFile` throws
 */
export async function readDataFile(file: string, options: DataFileOptions = {}): Promise<Row[]> {
  const rows = await read(file, options);
  if (rows.length === 0) throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question", { where: file });
  return rows;
}

async function read(file: string, { columnNames, report }: DataFileOptions): Promise<Row[]> {
  const extension = textExtension(file);
  if (extension === ".parquet") return readParquet(file);
  if (extension === ".csv") return readCsv(file, await readTextFile(file, { report }), columnNames);
  const text = await readTextFile(file, { report });
  if (extension === ".json" && text.trimStart().startsWith("[")) {
    const rows = readJson(text, file);
    if (Array.isArray(rows)) return rows.map((row, index) => asRow(row, `${file}, row ${index + 1}`));
  }
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    const where = `${file}, line ${index + 1}`;
    return [asRow(readJson(line, where), where)];
  });
}

function readJson(text: string, where: string): unknown {
  try {
    return parseJson(text);
  } catch (cause) {
    throw new LayerfoldError("TASK_ROW_INVALID", "not JSON", { where, cause });
  }
}

function asRow(row: unknown, where: string): Row {
  if (typeof row === "object" && row !== null && !Array.isArray(row)) return row as Row;
  throw new LayerfoldError("TASK_ROW_INVALID", "not a row: wanted an object of columns", { where });
}

function readCsv(file: string, text: string, columnNames: readonly string[] | undefined): Row[] {
  let cells: string[][];
  try {
    cells = parse(text, { relax_column_count: true });
  } catch (cause) {
    throw new LayerfoldError("TASK_ROW_INVALID", `not CSV: ${(cause as Error).message}`, {
      where: file,
      cause,
    });
  }
  const names = columnNames ?? cells.shift() ?? [];
  return cells.map((row, index) => {
    if (row.length === names.length) return Object.fromEntries(names.map((name, i) => [name, row[i]]));
    throw new LayerfoldError("TASK_ROW_INVALID", "the row has another number of columns", {
      wanted: `${names.length}: ${names.join(", ")}`,
      got: `${row.length}`,
      where: `${file}, row ${index + 1}`,
    });
  });
}

async function readParquet(file: string): Promise<Row[]> {
  const handle = await open(file).catch((cause) => {
    throw new LayerfoldError("FILE_MISSING", "cannot read the data", { where: file, cause });
  });
  try {
    const { size } = await handle.stat();
    const rows = await parquetReadObjects({
      file: {
        byteLength: size,
        async slice(start, end = size) {
          const bytes = new Uint8Array(end - start);
          await handle.read(bytes, 0, bytes.length, start);
          return bytes.buffer;
        },
      },
      compressors,
    });
    return rows.map((row, index) => asRow(plain(row), `${file}, row ${index + 1}`));
  } catch (cause) {
    const reason = (cause as Error).message.replaceAll(/\s+/g, " ");
    throw new LayerfoldError("PARQUET_INVALID", `not a Parquet file: ${reason}`, { where: file, cause });
  } finally {
    await handle.close();
  }
}

/** What Parquet has beside JSON's values. */
function plain(value: unknown): Value {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number>);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
  }
  return (value ?? null) as Value;
}
