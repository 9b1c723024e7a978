import { createRequire } from "node:module";
import { dirname, join } from "node:path";
/** Where the embedded model lies. */
export function foldling() {
  const root = dirname(createRequire(import.meta.url).resolve("@layerfold/foldling/package.json"));
  return { checkpoint: join(root, "checkpoint"), data: join(root, "data") };
}
