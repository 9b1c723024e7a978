/** A value from a file as an error quotes it: JSON, or a word where JSON has none for it. */
export function quoted(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "nothing";
  } catch {
    // JSON.parse has no limit to its depth, JSON.stringify has.
    return "something nested too deeply to be shown";
  }
}
