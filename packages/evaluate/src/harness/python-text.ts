/** A value of a data file: what JSON can say. */
export type Value = null | boolean | number | string | readonly Value[] | { readonly [name: string]: Value };

/** A row of a data file. */
export type Row = { readonly [name: string]: Value };

/** As Python's `str` prints it: `None`, `True`, `['a', "it's"]`. */
export function pythonText(value: Value): string {
  return typeof value === "string" ? value : representation(value);
}

function representation(value: Value): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return quotedText(value);
  if (Array.isArray(value)) return `[${value.map(representation).join(", ")}]`;
  const entries = Object.entries(value).map(
    ([name, inner]) => `${quotedText(name)}: ${representation(inner)}`,
  );
  return `{${entries.join(", ")}}`;
}

/** Python's repr of a text: in single quotes, unless it holds some and no double ones. */
function quotedText(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (character === quote || character === "\\") out += `\\${character}`;
    else if (character === "\n") out += "\\n";
    else if (character === "\r") out += "\\r";
    else if (character === "\t") out += "\\t";
    else if (code < 32 || code === 127) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else out += character;
  }
  return `${quote}${out}${quote}`;
}

/** White space as Python's `str.strip`, `str.isspace` and `\s` take it, as the inside of a character class. */
export const pythonSpace =
  "\\t\\n\\v\\f\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const leading = new RegExp(`^[${pythonSpace}]+`);
const trailing = new RegExp(`[${pythonSpace}]+$`);

/** `str.strip`, `lstrip` and `rstrip`. @param characters - to take away; default: white space */
export function strip(text: string, side: "both" | "left" | "right" = "both", characters?: string): string {
  if (characters === undefined) {
    const begun = side === "right" ? text : text.replace(leading, "");
    return side === "left" ? begun : begun.replace(trailing, "");
  }
  const all = [...text];
  let from = 0;
  let to = all.length;
  if (side !== "right") while (from < to && characters.includes(all[from])) from++;
  if (side !== "left") while (to > from && characters.includes(all[to - 1])) to--;
  return all.slice(from, to).join("");
}

/** `str.capitalize`: the first character large, the rest small. */
export function capitalize(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

/** `str.isdigit` as far as digits of numbers go. */
export function isDigits(text: string): boolean {
  return /^[0-9]+$/.test(text);
}

/** Length in code points, Python's `len`. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/**
 * What `ast.literal_eval` makes of a list as Python prints it; undefined where the text is none. Of texts, numbers, truth values, None, lists and dictionaries of texts.
 */
export function readPythonList(text: string): readonly Value[] | undefined {
  const reader = new LiteralReader(text.trim());
  try {
    const value = reader.value();
    return reader.ended && Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const escapes: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  a: "\x07",
  b: "\b",
  f: "\f",
  v: "\v",
  "\n": "",
};

class LiteralReader {
  private at = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  get ended(): boolean {
    this.space();
    return this.at === this.text.length;
  }

  value(): Value {
    this.space();
    const next = this.text[this.at];
    if (next === "[" || next === "(") return this.list(next === "[" ? "]" : ")");
    if (next === "{") return this.dictionary();
    if (next === "'" || next === '"') return this.string(next);
    const word = /^[^,\])}:\s]+/.exec(this.text.slice(this.at))?.[0] ?? "";
    this.at += word.length;
    if (word === "None") return null;
    if (word === "True" || word === "False") return word === "True";
    if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(word)) return Number(word);
    throw new SyntaxError(word);
  }

  private space(): void {
    while (/\s/.test(this.text[this.at] ?? "")) this.at++;
  }

  private list(end: string): Value[] {
    const items: Value[] = [];
    this.at++;
    for (;;) {
      this.space();
      if (this.text[this.at] === end) break;
      items.push(this.value());
      this.space();
      if (this.text[this.at] === ",") this.at++;
      else if (this.text[this.at] !== end) throw new SyntaxError(this.text[this.at]);
    }
    this.at++;
    return items;
  }

  private dictionary(): Value {
    const entries: [string, Value][] = [];
    this.at++;
    for (;;) {
      this.space();
      if (this.text[this.at] === "}") break;
      const name = this.value();
      this.space();
      if (typeof name !== "string" || this.text[this.at++] !== ":") throw new SyntaxError("no name");
      entries.push([name, this.value()]);
      this.space();
      if (this.text[this.at] === ",") this.at++;
      else if (this.text[this.at] !== "}") throw new SyntaxError(this.text[this.at]);
    }
    this.at++;
    return Object.fromEntries(entries);
  }

  private string(quote: string): string {
    let out = "";
    for (this.at++; this.text[this.at] !== quote; this.at++) {
      const character = this.text[this.at];
      if (character === undefined) throw new SyntaxError("open text");
      if (character !== "\\") {
        out += character;
        continue;
      }
      const escaped = this.text[++this.at] ?? "";
      const digits = { x: 2, u: 4, U: 8 }[escaped];
      if (digits) {
        out += String.fromCodePoint(Number.parseInt(this.text.slice(this.at + 1, this.at + 1 + digits), 16));
        this.at += digits;
      } else out += escapes[escaped] ?? (/['"\\]/.test(escaped) ? escaped : `\\${escaped}`);
    }
    this.at++;
    return out;
  }
}
