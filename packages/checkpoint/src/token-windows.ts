import { LayerfoldError, type RunContext } from "@layerfold/core";
import type { Documents } from "./documents.js";
import type { Tokenizer } from "./tokenizer.js";

/** When the tokenizer's begin token stands in front of a sequence. `auto`: before every document, and in a stream never. */
export type BeginTokenPolicy = "auto" | "always" | "never";

export interface WindowOptions {
  /** Tokens of a window, begin token included; the most that a document may have. Default 512. */
  readonly window?: number | undefined;
  /** Tokens from one window's start to the next's, at most `window`; default `window`: no overlap. Streams only. */
  readonly stride?: number | undefined;
  readonly beginToken?: BeginTokenPolicy | undefined;
  /** Take no more tokens than this, in whole windows or documents. */
  readonly maxTokens?: number | undefined;
  /** Where `maxTokens` leaves some out: take windows evenly over the whole text instead of from its beginning. Default false. */
  readonly spread?: boolean | undefined;
  /** Of documents longer than the window keep the end, where a question's answer stands, instead of the beginning. Default false. */
  readonly keepEnd?: boolean | undefined;
  /** Use only this part: rows of documents, tokens of a stream; `to` is exclusive and absent means to the end. */
  readonly range?: TextRange | undefined;
}

/** Part of a text, counted from 0. */
export interface TextRange {
  readonly from: number;
  readonly to?: number;
}

/** As the command line writes it: `[200:400]`. */
export function rangeName({ from, to }: TextRange): string {
  return `[${from}:${to ?? ""}]`;
}

/** Tokens that a model sees at once. */
export interface TokenSequence {
  readonly ids: Int32Array;
  /** First position whose token is a target that counts; those before it are context. At least 1. */
  readonly scoredFrom: number;
}

export interface TokenSequences {
  readonly sequences: readonly TokenSequence[];
  /** Whether the begin token stands in front of each sequence. */
  readonly beginTokenGiven: boolean;
  /** Whether the end token is each sequence's last target. */
  readonly endTokenScored: boolean;
  /** Tokens of all sequences together. */
  readonly tokenCount: number;
  /** Targets that count, of all sequences together. */
  readonly targetCount: number;
}

/**
 * Cuts text into the sequences that a model is run on.
 *
 * A stream is tokenised once, without special tokens, and cut into full windows; what is left at its end is reported and not used.
 * With a stride below the window, windows overlap, and every window but the first scores only the tokens that no window before it
 * scored. A document stands alone: begin token given, end token appended as its last target, cut off at `window` tokens. Where a begin
 * or end token would be given, one that the text has there already (as a rendered chat template has) takes its place, and is reported.
 *
 * @throws TEXT_EMPTY, TEXT_TOO_SHORT (no full window), TEXT_RANGE (a part that the text does not have), TOKENIZER_NO_BEGIN where
 * `always` asks for a token that there is not, WINDOW_INVALID
 */
export function tokenWindows(
  documents: Documents,
  tokenizer: Tokenizer,
  options: WindowOptions = {},
  report?: RunContext["report"],
): TokenSequences {
  const {
    beginToken = "auto",
    window = 512,
    stride = window,
    maxTokens = Number.POSITIVE_INFINITY,
    spread = false,
    keepEnd = false,
    range,
  } = options;
  const wanted = beginToken === "always" || (beginToken === "auto" && documents.kind === "documents");
  if (beginToken === "always" && tokenizer.beginId === undefined) {
    throw new LayerfoldError("TOKENIZER_NO_BEGIN", "the tokenizer has no begin token", {
      where: "beginToken",
    });
  }
  const begin = wanted && tokenizer.beginId !== undefined ? [tokenizer.beginId] : [];
  const fresh = window - begin.length;
  if (!(fresh >= 2) || !(stride >= 1 && stride <= fresh + begin.length)) {
    throw new LayerfoldError("WINDOW_INVALID", "cannot cut such windows", {
      wanted: "window ≥ 2, 1 ≤ stride ≤ window",
      got: `window ${window}, stride ${stride}`,
      where: documents.file,
    });
  }
  if (maxTokens < window) {
    throw new LayerfoldError("WINDOW_INVALID", "so few tokens do not fill one window", {
      wanted: `at least ${window} tokens, or a window of at most ${maxTokens}`,
      got: `${maxTokens}`,
      where: documents.file,
    });
  }
  const sequences =
    documents.kind === "stream"
      ? streamWindows(documents, tokenizer, begin, { window, stride, maxTokens, spread, range }, report)
      : documentSequences(documents, tokenizer, begin, { window, maxTokens, spread, keepEnd, range }, report);
  return {
    sequences,
    beginTokenGiven: begin.length > 0,
    endTokenScored: documents.kind === "documents" && tokenizer.endId !== undefined,
    tokenCount: sequences.reduce((sum, { ids }) => sum + ids.length, 0),
    targetCount: sequences.reduce((sum, { ids, scoredFrom }) => sum + ids.length - scoredFrom, 0),
  };
}

interface Limits {
  readonly window: number;
  readonly maxTokens: number;
  readonly spread: boolean;
  readonly keepEnd: boolean;
  readonly range: TextRange | undefined;
}

function streamWindows(
  { text, file }: Documents & { kind: "stream" },
  tokenizer: Tokenizer,
  begin: readonly number[],
  { window, stride, maxTokens, spread, range }: Omit<Limits, "keepEnd"> & { stride: number },
  report: RunContext["report"],
): TokenSequence[] {
  const fresh = window - begin.length;
  const step = Math.min(stride, fresh);
  const limit = Math.floor(maxTokens / window);
  const from = range?.from ?? 0;
  const needed = Math.min(
    spread ? Number.POSITIVE_INFINITY : from + limit * step + fresh,
    range?.to ?? Number.POSITIVE_INFINITY,
  );
  const { tokens: read, whole } = encodeStart(text, tokenizer, needed);
  if (range) checkRange(range, read.length, whole, "tokens", file);
  const tokens = read.subarray(from, range?.to);
  if (tokens.length < fresh) {
    throw new LayerfoldError("TEXT_TOO_SHORT", "the text is shorter than one window", {
      wanted: `${fresh} tokens`,
      got: `${tokens.length}`,
      where: file,
    });
  }
  const total = Math.floor((tokens.length - fresh) / step) + 1;
  const left = tokens.length - ((total - 1) * step + fresh);
  const chosen = choose(total, limit, spread);
  if (whole && !range && left > 0 && chosen.length === total) {
    report?.({
      type: "diagnostic",
      severity: "info",
      code: "TEXT_TAIL_UNUSED",
      message: `${file}: the last ${left} tokens do not fill a window and are not used`,
    });
  }
  let begun = 0;
  const windows = chosen.map((index, i) => {
    const start = index * step;
    const own = tokens.subarray(start, start + fresh);
    const front = own[0] === begin[0] ? [] : begin;
    if (front.length < begin.length) begun++;
    // The window before covered all but the last `step` tokens, if it was chosen.
    const overlap = i > 0 && chosen[i - 1] === index - 1 ? fresh - step : 0;
    const ids = new Int32Array(front.length + own.length);
    ids.set(front);
    ids.set(own, front.length);
    return { ids, scoredFrom: Math.max(1, front.length + overlap) };
  });
  reportBegun(begun, `${windows.length} windows`, file, report);
  return windows;
}

/** Says how often a begin token was there already. @param of - how many of what were looked at */
export function reportBegun(begun: number, of: string, file: string, report: RunContext["report"]): void {
  if (begun === 0) return;
  report?.({
    type: "diagnostic",
    severity: "info",
    code: "BEGIN_TOKEN_PRESENT",
    message: `${file}: ${begun} of ${of} begin with the begin token themselves; it is not given a second time`,
  });
}

/**
 * At least the first `count` tokens of a text, or all of them; long texts are not tokenised to their end for the sake of a few windows.
 * Where a text is cut changes only the word at the cut, and the spare tokens hold more than that.
 */
function encodeStart(
  text: string,
  tokenizer: Tokenizer,
  count: number,
): { tokens: Int32Array; whole: boolean } {
  const spare = 64;
  for (let end = 6 * (count + spare); end < text.length; end *= 2) {
    const cut = text.lastIndexOf(" ", end);
    const ids = cut > 0 ? tokenizer.encode(text.slice(0, cut)) : [];
    if (ids.length >= count + spare) return { tokens: Int32Array.from(ids.slice(0, count)), whole: false };
  }
  return { tokens: Int32Array.from(tokenizer.encode(text)), whole: true };
}

function documentSequences(
  { texts, file }: Documents & { kind: "documents" },
  tokenizer: Tokenizer,
  begin: readonly number[],
  { window, maxTokens, spread, keepEnd, range }: Limits,
  report: RunContext["report"],
): TokenSequence[] {
  if (range) checkRange(range, texts.length, true, "rows", file);
  const end = tokenizer.endId === undefined ? [] : [tokenizer.endId];
  const rows: Int32Array[] = [];
  let truncated = 0;
  let begun = 0;
  let total = 0;
  // Spreading needs every length; else reading stops at the limit.
  for (const text of range ? texts.slice(range.from, range.to) : texts) {
    const own = tokenizer.encode(text);
    const ownBegin = begin.length > 0 && own[0] === begin[0];
    if (ownBegin) own.shift();
    if (end.length > 0 && own.at(-1) === end[0]) own.pop();
    const all = [...begin, ...own, ...end];
    if (all.length < 2) continue;
    const ids = Int32Array.from(keepEnd ? all.slice(-window) : all.slice(0, window));
    if (!spread && total + ids.length > maxTokens) break;
    if (all.length > window) truncated++;
    if (ownBegin) begun++;
    total += ids.length;
    rows.push(ids);
  }
  if (rows.length === 0) {
    throw new LayerfoldError("TEXT_EMPTY", "no document has a token to predict", { where: file });
  }
  if (truncated > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "DOCUMENTS_TRUNCATED",
      message: `${file}: ${truncated} of ${rows.length} documents are longer than ${window} tokens and ${keepEnd ? "lost their beginning" : "were cut off"}`,
    });
  }
  reportBegun(begun, `${rows.length} documents`, file, report);
  const chosen = total <= maxTokens ? rows : spreadRows(rows, total, maxTokens);
  return chosen.map((ids) => ({ ids, scoredFrom: 1 }));
}

/** @param whole - whether `length` is all that there is, and not merely all that was read */
function checkRange(range: TextRange, length: number, whole: boolean, unit: string, file: string): void {
  const { from, to } = range;
  if (from < (to ?? length) && (to === undefined || to <= length || !whole)) return;
  throw new LayerfoldError("TEXT_RANGE", "the text has no such part", {
    wanted: `a part of its ${length} ${unit}`,
    got: rangeName(range),
    where: file,
  });
}

function choose(total: number, limit: number, spread: boolean): number[] {
  const count = Math.min(total, limit);
  return Array.from({ length: count }, (_, i) => (spread ? Math.floor((i * total) / count) : i));
}

/** Documents evenly over the file, at most `maxTokens` of their `total` tokens. */
function spreadRows(rows: readonly Int32Array[], total: number, maxTokens: number): Int32Array[] {
  const chosen: Int32Array[] = [];
  let seen = 0;
  let taken = 0;
  for (const row of rows) {
    const due = (seen / total) * maxTokens;
    seen += row.length;
    if (taken > due || taken + row.length > maxTokens) continue;
    chosen.push(row);
    taken += row.length;
  }
  return chosen;
}
