import { closest, distance } from "fastest-levenshtein";

/** `. Did you mean "x"?` when a known name is near, else the empty string. */
export function suggestion(name: string, known: readonly string[]): string {
  if (known.length === 0) return "";
  const nearest = closest(name, [...known]);
  return distance(name, nearest) <= Math.max(2, name.length / 3) ? `. Did you mean "${nearest}"?` : "";
}
