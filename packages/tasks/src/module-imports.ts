import { createHash } from "node:crypto";
import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { createRequire, isBuiltin } from "node:module";
import { dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { parse, type Reexport } from "es-module-lexer/js";

/** What one module takes from another. */
export interface ModuleImport {
  readonly specifier: string;
  /** Names in the other module, by the names under which a module that hands on offers them. Absent: everything. */
  readonly names?: ReadonlyMap<string, string>;
}

export interface ModuleText {
  /** SHA-256 of the text, hex. */
  readonly digest: string;
  readonly imports: readonly ModuleImport[];
  /** Whether it holds nothing but `export … from`. */
  readonly handsOn: boolean;
}

const read = new Map<string, { readonly changed: number; readonly module: ModuleText }>();

/** The imports of a JavaScript or TypeScript module. @throws FILE_MISSING, MODULE_INVALID */
export function readModule(file: string): ModuleText {
  let changed: number;
  let text: string;
  try {
    changed = statSync(file).mtimeMs;
    const before = read.get(file);
    if (before?.changed === changed) return before.module;
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new LayerfoldError("FILE_MISSING", "cannot read a module", { where: file, cause });
  }
  const module = { digest: createHash("sha256").update(text).digest("hex"), ...importsOf(text, file) };
  read.set(file, { changed, module });
  return module;
}

function importsOf(text: string, file: string): Pick<ModuleText, "imports" | "handsOn"> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(text, file);
  } catch (cause) {
    throw new LayerfoldError("MODULE_INVALID", "cannot read a module", {
      got: (cause as Error).message,
      where: file,
      cause,
    });
  }
  const [statements, exported, bare] = parsed;
  const handsOn = bare && exported.length > 0 && exported.every(({ type }) => type !== "direct");
  const imports = statements.flatMap((statement, index): ModuleImport[] => {
    const { specifier, importStart, importEnd } = statement;
    if (typeof specifier !== "string" || ("typeOnly" in statement && statement.typeOnly)) return [];
    if (statement.type !== "static") return [{ specifier }];
    const handed = exported.filter(
      (one) => one.type === "reexport" && one.importIndex === index,
    ) as Reexport[];
    const names = handsOn
      ? new Map(handed.flatMap(({ name, importName }) => (importName === null ? [] : [[name, importName]])))
      : importedNames(text.slice(importStart, importEnd));
    // `export * as name` hands on everything.
    return [
      names && handed.every(({ importName }) => importName !== null) ? { specifier, names } : { specifier },
    ];
  });
  // Worker threads begin in modules of their own.
  for (const [, specifier] of text.matchAll(
    /new URL\("(\.{1,2}\/[^"]+\.[cm]?[jt]s)", import\.meta\.url\)/g,
  )) {
    imports.push({ specifier });
  }
  return { imports, handsOn };
}

/** The names that an import statement binds; undefined for a namespace and a bare import. */
function importedNames(statement: string): ReadonlyMap<string, string> | undefined {
  if (/^(?:import|export)\s*\*|,\s*\*|^import\s*["']/.test(statement)) return undefined;
  const names: string[] = [];
  const own = /^import\s+(?:type\s+)?([\w$]+)/.exec(statement)?.[1];
  if (own !== undefined) names.push("default");
  for (const part of /\{([^}]*)\}/.exec(statement)?.[1].split(",") ?? []) {
    const [name] = part
      .trim()
      .replace(/^type\s+/, "")
      .split(/\s+as\s+/);
    if (name) names.push(name);
  }
  return new Map(names.map((name) => [name, name]));
}

/**
 * Where an import leads: a file, or a package of others' by name and version; nothing for what Node brings with it.
 * @throws MODULE_MISSING
 */
export function resolveImport(
  from: string,
  specifier: string,
):
  | { readonly file: string; readonly release?: undefined }
  | { readonly file?: undefined; readonly release: string }
  | undefined {
  if (isBuiltin(specifier)) return undefined;
  if (/^[./]/.test(specifier)) {
    const path = join(dirname(from), specifier);
    const candidates = [path, path.replace(/\.([cm]?)js$/, ".$1ts"), `${path}.ts`, `${path}.js`];
    const file = candidates.find((candidate) => existsSync(candidate) && statSync(candidate).isFile());
    if (file !== undefined) return { file: realpathSync(file) };
    throw missing(from, specifier);
  }
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  if (name.startsWith("@layerfold/") || name === "layerfold") {
    try {
      return { file: realpathSync(createRequire(from).resolve(specifier)) };
    } catch {
      throw missing(from, specifier);
    }
  }
  for (let folder = dirname(from); ; folder = dirname(folder)) {
    const manifest = join(folder, "node_modules", name, "package.json");
    if (existsSync(manifest)) {
      return { release: `${name}@${JSON.parse(readFileSync(manifest, "utf8")).version}` };
    }
    if (dirname(folder) === folder) throw missing(from, specifier);
  }
}

function missing(from: string, specifier: string): LayerfoldError {
  return new LayerfoldError("MODULE_MISSING", "an import leads nowhere", { got: specifier, where: from });
}
