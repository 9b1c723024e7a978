import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { fileError } from "./file-error.js";
import { requireRegularFile } from "./regular-file.js";

/** Text to be scored or calibrated on: one stream without joints, or documents that stand alone. */
export type Documents =
  | { readonly kind: "stream"; readonly text: string; readonly file: string }
  | { readonly kind: "documents"; readonly texts: readonly string[]; readonly file: string };

/**
 * Reads a text file: `.jsonl` holds one document a line (its field `text`, or a bare string), `.json` a list of the same; any other
 * file is one stream.
 * @throws FILE_MISSING, TEXT_EMPTY, DOCUMENT_INVALID naming the line
 */
export async function readDocuments(file: string): Promise<Documents> {
  const content = await requireRegularFile(file)
    .then(() => readFile(file, "utf8"))
    .catch((error) => {
      throw fileError(error, file);
    });
  const extension = extname(file).toLowerCase();
  if (extension === ".jsonl" || extension === ".ndjson") {
    return { kind: "documents", texts: jsonLines(content, file).map(textOf), file };
  }
  if (extension === ".json") {
    const list = parseJson(content, file);
    if (!Array.isArray(list)) throw invalid("not a list", file);
    if (list.length === 0) throw empty(file);
    const texts = list.map((value, index) => textOf({ value, where: `${file}, entry ${index}` }));
    return { kind: "documents", texts, file };
  }
  if (content.trim() === "") throw empty(file);
  return { kind: "stream", text: content, file };
}

/** The values of a JSON-lines file with the place of each; blank lines do not count. @throws TEXT_EMPTY, DOCUMENT_INVALID */
export function jsonLines(content: string, file: string): { value: unknown; where: string }[] {
  const lines = content.split("\n").flatMap((line, index) => {
    const where = `${file}, line ${index + 1}`;
    return line.trim() === "" ? [] : [{ value: parseJson(line, where), where }];
  });
  if (lines.length === 0) throw empty(file);
  return lines;
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LayerfoldError("DOCUMENT_INVALID", "not JSON", { got: (cause as Error).message, where, cause });
  }
}

function textOf({ value, where }: { value: unknown; where: string }): string {
  const text = typeof value === "string" ? value : (value as { text?: unknown } | null)?.text;
  if (typeof text !== "string") throw invalid("no text", where);
  return text;
}

function invalid(message: string, where: string): LayerfoldError {
  return new LayerfoldError("DOCUMENT_INVALID", message, { wanted: 'a string, or { "text": … }', where });
}

function empty(file: string): LayerfoldError {
  return new LayerfoldError("TEXT_EMPTY", "the file holds no text", { where: file });
}
