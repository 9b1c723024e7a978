import { LayerfoldError, parseJson, type RunContext } from "@layerfold/core";
import { readTextFile, textExtension } from "./text-file.js";

/** Text to be scored or calibrated on: one stream without joints, or documents that stand alone. */
export type Documents =
  | { readonly kind: "stream"; readonly text: string; readonly file: string }
  | { readonly kind: "documents"; readonly texts: readonly string[]; readonly file: string };

/**
 * Reads a text file: `.jsonl` holds one document a line (its field `text`, or a bare string), `.json` a list of the same; any other
 * file is one stream. Each may be gzipped (`.jsonl.gz`).
 * @param report - hears of line ends and marks that were not taken as they stood
 * @throws TEXT_EMPTY, DOCUMENT_INVALID naming the line, and what `readTextFile` throws
 */
export async function readDocuments(file: string, report?: RunContext["report"]): Promise<Documents> {
  const content = await readTextFile(file, { report });
  const extension = textExtension(file);
  if (extension === ".jsonl" || extension === ".ndjson") {
    return documentsOf(jsonLines(content, file).map(textOf), file, report);
  }
  if (extension === ".json") {
    const list = documentOf(content, file);
    if (!Array.isArray(list)) throw invalid("not a list", file);
    if (list.length === 0) throw empty(file);
    const texts = list.map((value, index) => textOf({ value, where: `${file}, entry ${index}` }));
    return documentsOf(texts, file, report);
  }
  if (content.trim() === "") throw empty(file);
  return { kind: "stream", text: content, file };
}

/** Line ends inside a JSON string were written there by somebody, so they stay; but tokenizers were seldom trained on CRLF. */
function documentsOf(texts: readonly string[], file: string, report: RunContext["report"]): Documents {
  const count = texts.filter((text) => text.includes("\r\n")).length;
  if (count > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "DOCUMENTS_CRLF",
      message: `${file}: ${count} of ${texts.length} documents hold line ends CRLF, which are read as they stand and cost tokens that LF does not`,
    });
  }
  return { kind: "documents", texts, file };
}

/** The values of a JSON-lines file with the place of each; blank lines do not count. @throws TEXT_EMPTY, DOCUMENT_INVALID */
export function jsonLines(content: string, file: string): { value: unknown; where: string }[] {
  const lines = content.split("\n").flatMap((line, index) => {
    const where = `${file}, line ${index + 1}`;
    return line.trim() === "" ? [] : [{ value: documentOf(line, where), where }];
  });
  if (lines.length === 0) throw empty(file);
  return lines;
}

function documentOf(text: string, where: string): unknown {
  try {
    return parseJson(text);
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
