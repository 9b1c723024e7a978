/** A value from a file as an error quotes it: JSON, or a word where JSON has none for it. */
export function quoted(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "nothing";
  } catch {
    // As deep as `JSON.parse` allows and `JSON.stringify` does not.
    return "something nested too deeply to be shown";
  }
}

/** What should be a name, as an error or a comparison takes it: itself, or quoted where it is none. */
export function nameOrQuoted(value: unknown): string {
  return typeof value === "string" ? value : quoted(value);
}
