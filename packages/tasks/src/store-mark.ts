import { LayerfoldError } from "@layerfold/core";

/** Of what lies where in a store; another one is another store. */
const layout = 1;

/** Tells that something is a store. */
export const markFile = "layerfold-store.json";
export const markText = `${JSON.stringify({ layout })}\n`;

/** @throws STORE_OTHER_VERSION unless a mark's text is of this layout */
export function checkMark(text: string, where: string): void {
  const found = parseJson(text) as { readonly layout?: unknown } | null | undefined;
  if (found?.layout === layout) return;
  throw new LayerfoldError("STORE_OTHER_VERSION", "the folder for finished work is of another version", {
    wanted: `layout ${layout}`,
    got: `${found?.layout}`,
    where,
  });
}

export function foreignStore(where: string, names: readonly string[]): LayerfoldError {
  return new LayerfoldError("STORE_FOREIGN", "the folder for finished work holds something else", {
    wanted: "an empty folder, or one of layerfold's",
    got: names.slice(0, 3).join(", ") || "an empty folder",
    where,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
