/** The first key that stands twice in one object of a valid JSON text; `JSON.parse` would silently keep the last. */
export function duplicateKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g;
  for (let match = token.exec(json); match; match = token.exec(json)) {
    const [text, colon] = match;
    if (text === "{") open.push(new Set());
    else if (text === "[") open.push(undefined);
    else if (text === "}" || text === "]") open.pop();
    else if (colon) {
      const key: string = JSON.parse(text.slice(0, -colon.length));
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
