import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** Every file in a folder, however deep, by its path from there with `/`. Symbolic links are not followed. */
export async function filesIn(folder: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory()) found.push(...(await filesIn(folder, `${path}/`)));
    else found.push(path);
  }
  return found;
}
