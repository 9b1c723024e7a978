/** No configuration, document or plan nests this deep; what walks a value by recursion, as `JSON.stringify` does, runs out of stack later. */
const deepest = 256;

/**
 * The value of a JSON text of which anybody may be the author: `JSON.parse`, but for values that nest deeper than 256 levels.
 * @throws SyntaxError. O(length of the text).
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  let level = [value];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > deepest) throw new SyntaxError(`nested deeper than ${deepest} levels`);
    const next: unknown[] = [];
    for (const parent of level) {
      if (typeof parent !== "object" || parent === null) continue;
      for (const child of Object.values(parent)) if (typeof child === "object") next.push(child);
    }
    level = next;
  }
  return value;
}
