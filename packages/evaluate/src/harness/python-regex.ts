import { LayerfoldError } from "@layerfold/core";
import { pythonSpace } from "./python-text.js";

/**
 * A regular expression of Python's `re` as one of JavaScript's. What both write alike is kept; leading flags (`(?s)`, `(?i)`, `(?m)`), named groups, `\Z`,
 * `\A`, `\s`, and `$`, which in Python also stands before a last line break, are translated.
 *
 * @param where - the field, for errors
 * @throws TASK_FIELD_UNSUPPORTED for what JavaScript cannot say, TASK_INVALID for what is no expression
 */
export function pythonRegex(source: string, where: string, flags = "g"): RegExp {
  const refuse = (what: string) =>
    new LayerfoldError("TASK_FIELD_UNSUPPORTED", `a regular expression uses ${what}`, {
      got: source,
      where,
    });
  let pattern = source;
  let all = flags;
  const leading = /^\(\?([a-zA-Z]+)\)/.exec(pattern);
  if (leading) {
    for (const flag of leading[1]) {
      if (flag === "u") continue;
      if (!"sim".includes(flag)) throw refuse(`the flag ${flag}`);
      if (!all.includes(flag)) all += flag;
    }
    pattern = pattern.slice(leading[0].length);
  }
  let out = "";
  let inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i];
    if (character === "\\") {
      const next = pattern[++i] ?? "";
      if (next === "s") out += inClass ? pythonSpace : `[${pythonSpace}]`;
      else if (next === "S" && !inClass) out += `[^${pythonSpace}]`;
      else if (next === "S") throw refuse("\\S in a class");
      else if (next === "Z") out += "(?![\\s\\S])";
      else if (next === "A") out += "(?<![\\s\\S])";
      else out += `\\${next}`;
    } else if (inClass) {
      if (character === "]") inClass = false;
      // Python takes it as it stands there, JavaScript too without the flag v.
      out += character;
    } else if (character === "[") {
      inClass = true;
      out += character;
      if (pattern[i + 1] === "^") out += pattern[++i];
      if (pattern[i + 1] === "]") {
        out += "\\]";
        i++;
      }
    } else if (character === "$" && !all.includes("m")) out += "(?=\\n?(?![\\s\\S]))";
    else if (pattern.startsWith("(?P<", i)) {
      out += "(?<";
      i += 3;
    } else if (/^\(\?([a-zA-Z]+|\(|P=|P>)/.test(pattern.slice(i))) {
      throw refuse(`"${pattern.slice(i, i + 4)}"`);
    } else out += character;
  }
  try {
    return new RegExp(out, all);
  } catch (cause) {
    throw new LayerfoldError("TASK_INVALID", "not a regular expression", { got: source, where, cause });
  }
}

/** What `re.sub` puts in a match's place, `\1` and `\g<name>` filled in, as `String.replace` takes it. */
export function pythonReplacement(replacement: string): string {
  return replacement
    .replaceAll("$", "$$$$")
    .replace(/\\g<(\w+)>|\\(\d)/g, (_, name: string | undefined, digit: string | undefined) =>
      name === undefined ? `$${digit}` : /^\d+$/.test(name) ? `$${name}` : `$<${name}>`,
    )
    .replaceAll("\\n", "\n")
    .replaceAll("\\\\", "\\");
}
