import { withinTime } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";

/** A name has some dozen letters; a pattern that takes longer takes for ever. */
const patternSeconds = 1;

/**
 * Names of modules by a regular expression from a config or the command line.
 *
 * @param code - of the error
 * @param where - what to name in it
 * @throws `code` where it is none, and from what is returned where it backtracks without end
 */
export function modulePattern(pattern: string, code: string, where: string): (module: string) => boolean {
  const invalid = (reason: string) =>
    new LayerfoldError(code, `cannot use a pattern: ${reason}`, { got: pattern, where });
  let expression: RegExp;
  try {
    expression = new RegExp(pattern);
  } catch {
    throw invalid("it is no regular expression");
  }
  return (module) =>
    withinTime(
      patternSeconds,
      () => expression.test(module),
      () => invalid("it backtracks without end"),
    );
}
