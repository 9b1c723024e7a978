import { existsSync } from "node:fs";
import { basename } from "node:path";
import { rangeName, type TextRange } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { benchmarkIds } from "@layerfold/evaluate";
import { moduleTask } from "../module-path.js";

/** A text as the command line names it: `FILE`, `FILE[200:400]`, and for a calibration `FILE:0.5`, `BENCHMARK:FILE:0.5` or `self`. */
export interface TextSource {
  /** Absent: text that the model makes up itself. */
  readonly file?: string;
  /**
   * Benchmark whose rows the file holds, or the path of a module with a task of one's own, each to be read with its right answer; `NAME+wrong`: once
   * with every answer.
   */
  readonly task?: string;
  /** Rows of a `.jsonl` or `.json`, tokens of a stream. */
  readonly range?: TextRange;
  /** Of the calibration's tokens; absent: all sources the same. */
  readonly share?: number;
}

/** Benchmarks as a calibration may name them. */
const taskNames = benchmarkIds.flatMap((id) => [id, `${id}+wrong`]);

const form = /^(.+?)(?:\[(\d*):(\d*)\])?(?::(\d*\.?\d+))?$/s;

/**
 * @param exists - whether there is such a file; default: as the path says from here
 * @throws TEXT_SOURCE naming what cannot be read
 */
export function parseTextSource(text: string, exists: (file: string) => boolean = existsSync): TextSource {
  const whole = text.trim();
  const known = taskNames.find((id) => whole.startsWith(`${id}:`));
  const own = known === undefined ? moduleTask(whole) : undefined;
  const task = known ?? own?.task;
  const rest = own ? own.rest : known === undefined ? whole : whole.slice(known.length + 1);
  const [, file, from, to, share] = form.exec(rest) ?? [];
  const range: TextRange | undefined =
    from === undefined ? undefined : { from: Number(from), ...(to !== "" && { to: Number(to) }) };
  // Brackets belong to a name where there is such a file.
  const strange = file === undefined || (/[[\]]/.test(file) && !exists(file));
  if (strange || (range?.to !== undefined && range.to <= range.from)) {
    throw new LayerfoldError("TEXT_SOURCE", "cannot read the name of a text", {
      wanted: "FILE that is there, or FILE[FROM:TO] with TO beyond FROM",
      got: text,
    });
  }
  if (file === "self" && task === undefined) {
    if (range) throw new LayerfoldError("TEXT_SOURCE", "text of the model's own has no parts", { got: text });
    return { ...(share !== undefined && { share: Number(share) }) };
  }
  return {
    file,
    ...(task !== undefined && { task }),
    ...(range && { range }),
    ...(share !== undefined && { share: Number(share) }),
  };
}

/** The same where only a file will do, and shares mean nothing. @throws TEXT_SOURCE */
export function fileSource(text: string): TextSource & { readonly file: string } {
  const { file, task, range, share } = parseTextSource(text);
  if (file !== undefined && task === undefined && share === undefined) {
    return { file, ...(range && { range }) };
  }
  throw new LayerfoldError("TEXT_SOURCE", "only a file can be judged on", {
    wanted: "FILE or FILE[FROM:TO]",
    got: text,
  });
}

/**
 * Parses `a.txt:0.5,b.jsonl[200:]:0.3,self:0.2`: several texts with the shares that they have of the calibration's tokens. Shares are
 * given for all or for none, which means equal ones, and are scaled to sum to 1.
 * @throws TEXT_SOURCE
 */
export function parseCalibration(text: string): (TextSource & { readonly share: number })[] {
  const sources = text.split(",").map((part) => parseTextSource(part));
  const given = sources.filter(({ share }) => share !== undefined).length;
  const total = sources.reduce((sum, { share = 1 }) => sum + share, 0);
  if ((given > 0 && given < sources.length) || sources.some(({ share = 1 }) => share === 0)) {
    throw new LayerfoldError("TEXT_SOURCE", "shares are given for every text or for none", {
      wanted: "numbers above 0, e.g. a.txt:0.5,b.jsonl:0.5",
      got: text,
    });
  }
  return sources.map((source) => ({ ...source, share: (source.share ?? 1) / total }));
}

/** As a person would name it: `wiki.txt[0:16384]`, `piqa:rows.jsonl`, or `self`. */
export function sourceName({ file, task, range }: TextSource): string {
  return `${task === undefined ? "" : `${task}:`}${file ?? "self"}${range ? rangeName(range) : ""}`;
}

/** A text's file without its folders. */
export function shortName(text: string): string {
  const source = fileSource(text);
  return sourceName({ ...source, file: basename(source.file) });
}

/** The rows that a source names. @throws TEXT_RANGE when there are no such rows */
export function rowsOf<T>(rows: readonly T[], { file, range }: TextSource): readonly T[] {
  const { from = 0, to = rows.length } = range ?? {};
  if (from < to && to <= rows.length) return rows.slice(from, to);
  throw new LayerfoldError("TEXT_RANGE", "the file has no such rows", {
    wanted: `a part of its ${rows.length} rows`,
    got: rangeName(range ?? { from }),
    where: file,
  });
}
