import { pythonRegex, pythonReplacement } from "./python-regex.js";
import {
  capitalize,
  codePoints,
  isDigits,
  pythonText,
  readPythonList,
  strip,
  type Value,
} from "./python-text.js";

/** Filters that the Jinja library lacks, or has otherwise than Python. */
export const filters: Readonly<Record<string, (operand: Value, args: readonly Value[]) => Value>> = {
  regex_replace(operand, [pattern, replacement = "", count = 0]) {
    const expression = pythonRegex(String(pattern), "regex_replace", count === 1 ? "" : "g");
    if (Number(count) > 1) throw new Error("regex_replace with a count above 1");
    return pythonText(operand).replace(expression, pythonReplacement(pythonText(replacement)));
  },
  capitalize: (operand) => capitalize(pythonText(operand)),
  string: (operand) => pythonText(operand),
  trim: (operand, [characters]) => strip(pythonText(operand), "both", characters as string | undefined),
  int(operand, [fallback = 0]) {
    if (typeof operand === "number") return Math.trunc(operand);
    if (typeof operand === "boolean") return operand ? 1 : 0;
    const text = strip(pythonText(operand));
    return /^[+-]?\d+(\.\d*)?$/.test(text) ? Math.trunc(Number(text)) : fallback;
  },
  /** An addition to the harness: what `ast.literal_eval` makes of a list that lies in a column as text. */
  literal_eval(operand) {
    if (typeof operand !== "string") return operand;
    const list = readPythonList(operand);
    if (list) return list;
    throw new Error("the text is no list as Python prints one");
  },
  list: (operand) =>
    typeof operand === "string"
      ? [...operand]
      : Array.isArray(operand)
        ? operand
        : Object.keys(operand as object),
  join: (operand, [separator = ""]) =>
    (typeof operand === "string" ? [...operand] : (operand as readonly Value[]))
      .map(pythonText)
      .join(String(separator)),
  length: (operand) =>
    typeof operand === "string"
      ? codePoints(operand)
      : Array.isArray(operand)
        ? operand.length
        : Object.keys(operand as object).length,
  first: (operand) => (typeof operand === "string" ? [...operand] : (operand as Value[]))[0],
  last: (operand) => (typeof operand === "string" ? [...operand] : (operand as Value[])).at(-1) ?? null,
};

type Method = (self: string | Value[], args: readonly Value[]) => Value | undefined;

/** Of a text; a list's are the library's own. */
const ofText =
  (method: (self: string, args: readonly Value[]) => Value): Method =>
  (self, args) =>
    typeof self === "string" ? method(self, args) : undefined;

/** Methods of texts and lists that the library lacks, or has otherwise than Python; undefined: it has them. */
export const methods: Readonly<Record<string, Method>> = {
  strip: ofText((self, [characters]) => strip(self, "both", characters as string | undefined)),
  lstrip: ofText((self, [characters]) => strip(self, "left", characters as string | undefined)),
  rstrip: ofText((self, [characters]) => strip(self, "right", characters as string | undefined)),
  capitalize: ofText(capitalize),
  isdigit: ofText(isDigits),
  find: ofText((self, [text]) => self.indexOf(String(text))),
  join: ofText((self, [items]) => (items as Value[]).map(String).join(self)),
  removeprefix: ofText((self, [text]) =>
    self.startsWith(String(text)) ? self.slice(String(text).length) : self,
  ),
  removesuffix: ofText((self, [text]) =>
    text !== "" && self.endsWith(String(text)) ? self.slice(0, -String(text).length) : self,
  ),
  rsplit: ofText((self, [separator, most = -1]) => {
    const parts = self.split(String(separator));
    if (Number(most) < 0 || parts.length <= Number(most) + 1) return parts;
    const cut = parts.length - Number(most);
    return [parts.slice(0, cut).join(String(separator)), ...parts.slice(cut)];
  }),
  count(self, [wanted]) {
    if (typeof self === "string") return self.split(String(wanted)).length - 1;
    return self.filter((item) => item === wanted).length;
  },
  index(self, [wanted]) {
    const at = typeof self === "string" ? self.indexOf(String(wanted)) : self.indexOf(wanted);
    if (at >= 0) return at;
    throw new Error(`${JSON.stringify(wanted)} is not in ${JSON.stringify(self).slice(0, 80)}`);
  },
};
