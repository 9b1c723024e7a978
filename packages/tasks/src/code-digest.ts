import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { readModule, resolveImport } from "./module-imports.js";

export interface CodeDigestOptions {
  /** What is used of the modules; default: everything. */
  readonly names?: readonly string[];
  /** Modules that are not looked into, by path: what they lead to is accounted for elsewhere, as a registry's plug-ins are. */
  readonly except?: readonly string[];
}

/**
 * SHA-256, hex, of code: of modules and all that they import of layerfold's packages and of the user's files; of other packages the name and
 * version; and of the platform. Of a module that only hands on (`export { a } from "./a.js"`) what is asked for counts: a change of one plug-in
 * leaves the digests of its neighbours as they are. Where the files lie does not matter.
 *
 * @param modules - paths or file URLs
 * @throws MODULE_MISSING where an import leads nowhere; FILE_MISSING
 */
export function codeDigest(
  modules: readonly string[],
  { names, except = [] }: CodeDigestOptions = {},
): string {
  /** Digests of the modules that count, and `name@version` of the other packages. */
  const parts = new Set<string>();
  const barred = new Set(except.map((path) => realpathSync(path)));
  const seen = new Set<string>();

  /** @param wanted - names that are used of it; absent: everything */
  const visit = (file: string, wanted: readonly string[] | undefined) => {
    if (barred.has(file)) return;
    const { digest, handsOn, imports } = readModule(file);
    if (!handsOn) {
      if (seen.has(file)) return;
      seen.add(file);
      parts.add(digest);
      for (const { specifier, names } of imports) follow(file, specifier, names && [...names.values()]);
      return;
    }
    for (const { specifier, names } of imports) {
      const passed = names && wanted ? wanted.flatMap((name) => names.get(name) ?? []) : undefined;
      const fresh = passed?.filter((name) => !seen.has(`${file} ${specifier} ${name}`));
      for (const name of fresh ?? []) seen.add(`${file} ${specifier} ${name}`);
      if (fresh === undefined) {
        if (seen.has(`${file} ${specifier}`)) continue;
        seen.add(`${file} ${specifier}`);
      }
      if (fresh === undefined || fresh.length > 0) follow(file, specifier, fresh);
    }
  };

  const follow = (from: string, specifier: string, wanted: readonly string[] | undefined) => {
    const found = resolveImport(from, specifier);
    if (found?.file !== undefined) visit(found.file, wanted);
    else if (found) parts.add(found.release);
  };

  for (const module of modules) {
    visit(realpathSync(module.startsWith("file:") ? fileURLToPath(module) : module), names);
  }
  return createHash("sha256")
    .update([`${process.platform} ${process.arch}`, ...[...parts].sort()].join("\n"))
    .digest("hex");
}
