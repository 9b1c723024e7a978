import { stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  isLayerfoldError,
  LayerfoldError,
  type Plugin,
  type PluginFactory,
  suggestion,
} from "@layerfold/core";
import * as information from "@layerfold/information";
import * as manifold from "@layerfold/manifold";
import * as merge from "@layerfold/merge";
import * as quantize from "@layerfold/quantize";
import * as similarity from "@layerfold/similarity";
import { codeDigest } from "@layerfold/tasks";
import { type DataFact, dataFact, type PluginFact } from "./manifest.js";
import { isModulePath } from "./module-path.js";

type AnyFactory = PluginFactory<Plugin>;

const isFactory = (value: unknown): value is AnyFactory =>
  typeof value === "function" && "kind" in value && "id" in value && "optionsSchema" in value;

const packages = { manifold, information, similarity, merge, quantize };

/** Every built-in plug-in: what the packages export as factories. */
export const builtIns: readonly AnyFactory[] = Object.values(packages).flatMap((module) =>
  Object.values(module).filter(isFactory),
);

/** This module leads to every plug-in, so digests of code do not look into it: those of the plug-ins in use stand beside them. */
export const registryModule = fileURLToPath(import.meta.url);

/** Ids of the built-in plug-ins of a kind, sorted. */
export function knownIds(kind: string): string[] {
  return builtIns
    .filter((factory) => factory.kind === kind)
    .map((factory) => factory.id)
    .sort();
}

/** The user's modules that plug-ins came from. */
const modules = new WeakMap<Plugin, { readonly fact: DataFact; readonly file: string }>();

const loaded = new Set<string>();

/** The user's modules that plug-ins of this process came from: workers are given the same. */
export function loadedModules(): string[] {
  return [...loaded];
}

/** Modules of ours with plug-ins that no package exports. */
const ownModules = new WeakMap<Plugin, string>();

/** Says which module of ours a plug-in is made in that no package exports. @param module - its `import.meta.url` */
export function madeIn<P extends Plugin>(module: string, plugin: P): P {
  ownModules.set(plugin, fileURLToPath(module));
  return plugin;
}

/**
 * Digest of the code that a plug-in is made of: of the package's module that exports its factory, or of the user's, and of what that imports.
 * Undefined for one that was handed over in code.
 */
export function codeOfPlugin(plugin: Plugin): string | undefined {
  const module = modules.get(plugin)?.file ?? ownModules.get(plugin);
  if (module !== undefined) return codeDigest([module], { except: [registryModule] });
  const { kind, id } = plugin;
  for (const [name, exports] of Object.entries(packages)) {
    for (const [exported, value] of Object.entries(exports)) {
      if (!isFactory(value) || value.kind !== kind || value.id !== id) continue;
      const entry = createRequire(import.meta.url).resolve(`@layerfold/${name}`);
      return codeDigest([entry], { names: [exported], except: [registryModule] });
    }
  }
  return undefined;
}

/** The part of a manifest that a plug-in accounts for. */
export function pluginFact(plugin: Plugin): PluginFact {
  const module = modules.get(plugin);
  return {
    kind: plugin.kind,
    id: plugin.id,
    options: plugin.options,
    ...(module && { module: module.fact }),
  };
}

/** The same of several; those that there are not are passed over. */
export function pluginFacts(...plugins: readonly (Plugin | undefined)[]): PluginFact[] {
  return plugins.flatMap((plugin) => (plugin ? [pluginFact(plugin)] : []));
}

/**
 * Makes a plug-in by its id, or from a user's module (`./measure.js`, `./measure.ts`) whose default export is a factory or a plug-in.
 *
 * @throws PLUGIN_UNKNOWN naming the known ones; PLUGIN_MODULE when the module does not hold a plug-in of this kind. What a module's plug-in
 * throws later is PLUGIN_FAILED.
 */
export async function makePlugin<P extends Plugin>(
  kind: P["kind"],
  name: string,
  options: Record<string, unknown>,
): Promise<P> {
  return isModulePath(name) ? pluginFromModule<P>(kind, name, options) : makeBuiltIn(kind, name, options);
}

/** @throws PLUGIN_UNKNOWN naming the known ones */
export function makeBuiltIn<P extends Plugin>(
  kind: P["kind"],
  name: string,
  options: Record<string, unknown>,
): P {
  const factory = builtIns.find((candidate) => candidate.kind === kind && candidate.id === name);
  if (factory) return factory(options) as P;
  const known = knownIds(kind);
  throw new LayerfoldError("PLUGIN_UNKNOWN", `no ${kind} of this name${suggestion(name, known)}`, {
    wanted: `${known.join(", ")}, or a path to a module`,
    got: name,
  });
}

/** What a plug-in of a kind must have to be called. */
const methods: Readonly<Record<string, readonly string[]>> = {
  similarity: ["prepare", "compare"],
  embedding: ["fit"],
  planner: ["plan"],
  strategy: ["merge"],
  repair: ["fit"],
  quantizer: ["quantize"],
  transform: ["fit"],
  task: ["item"],
};

/**
 * Holds what somebody made against what a plug-in of a kind must have.
 * @throws PLUGIN_MODULE
 */
export function requirePlugin(
  kind: string,
  made: Readonly<Record<string, unknown>> | null | undefined,
  { what, where }: { readonly what: string; readonly where: string },
): void {
  if (made?.kind !== kind || typeof made.id !== "string") {
    const got = made === undefined ? "nothing" : typeof made;
    throw new LayerfoldError("PLUGIN_MODULE", `${what} is no ${kind}`, {
      wanted: `a plug-in or a factory of plug-ins with kind "${kind}" and an id`,
      got: made?.kind === undefined ? got : made.kind === kind ? "no id" : `kind "${String(made.kind)}"`,
      where,
    });
  }
  const missing = methods[kind]?.filter((name) => typeof made[name] !== "function") ?? [];
  if (missing.length > 0 || typeof made.options !== "object" || made.options === null) {
    throw new LayerfoldError("PLUGIN_MODULE", `${what} lacks what a ${kind} must have`, {
      wanted: ["options", ...(methods[kind] ?? []).map((name) => `${name}()`)].join(", "),
      got: Object.keys(made).join(", "),
      where,
    });
  }
}

/** A user's module with a plug-in. */
export interface PluginModule {
  readonly kind: string;
  readonly id: string;
  /** @throws PLUGIN_MODULE, and what the factory throws */
  make<P extends Plugin>(options: Record<string, unknown>): P;
}

/** @throws PLUGIN_MODULE where it holds no plug-in of any kind */
export async function openPluginModule(path: string): Promise<PluginModule> {
  const file = resolve(path);
  const exported = (await defaultExport(file)) as
    | { readonly kind?: unknown; readonly id?: unknown }
    | undefined;
  const { kind, id } = exported ?? {};
  if (typeof kind !== "string" || typeof id !== "string") {
    throw new LayerfoldError("PLUGIN_MODULE", "the module's default export is no plug-in", {
      wanted: "a plug-in or a factory of plug-ins with kind and id",
      where: file,
    });
  }
  const fact = await dataFact(file);
  return { kind, id, make: (options) => pluginOfExport(kind, { exported, file, fact }, options) };
}

async function pluginFromModule<P extends Plugin>(
  kind: string,
  path: string,
  options: Record<string, unknown>,
): Promise<P> {
  const file = resolve(path);
  const exported = await defaultExport(file);
  return pluginOfExport(kind, { exported, file, fact: await dataFact(file) }, options);
}

function pluginOfExport<P extends Plugin>(
  kind: string,
  { exported, file, fact }: { readonly exported: unknown; readonly file: string; readonly fact: DataFact },
  options: Record<string, unknown>,
): P {
  let made: Record<string, unknown> | null | undefined;
  try {
    made = (typeof exported === "function" ? exported(options) : exported) as typeof made;
  } catch (error) {
    // An option that it does not know.
    if (isLayerfoldError(error)) throw error;
    throw moduleError(`the module's default export fails: ${firstLine(error)}`, file, error);
  }
  if (exported === undefined) {
    throw new LayerfoldError("PLUGIN_MODULE", `the module's default export is no ${kind}`, {
      wanted: `a plug-in or a factory of plug-ins with kind "${kind}" and an id`,
      got: "no default export",
      where: file,
    });
  }
  requirePlugin(kind, made, { what: "the module's default export", where: file });
  const plugin = namedInErrors(made as unknown as P, file);
  loaded.add(file);
  modules.set(plugin, { fact, file });
  return plugin;
}

async function defaultExport(file: string): Promise<unknown> {
  if (!(await stat(file).catch(() => undefined))?.isFile()) throw moduleError("no such module", file);
  try {
    if (!/\.[cm]?ts$/.test(file)) return (await import(pathToFileURL(file).href)).default;
    // Node 20 does not run TypeScript by itself. Asked for a default export that is not there, jiti gives the module itself.
    const { createJiti } = await import("jiti");
    return (await createJiti(import.meta.url, { interopDefault: false }).import<{ default?: unknown }>(file))
      .default;
  } catch (error) {
    throw moduleError(`cannot load the module: ${firstLine(error)}`, file, error);
  }
}

/** The same plug-in, but what goes wrong within it is told as the module's error, not as ours. */
function namedInErrors<P extends Plugin>(plugin: P, file: string): P {
  const tell = (error: unknown): never => {
    if (isLayerfoldError(error)) throw error;
    throw new LayerfoldError(
      "PLUGIN_FAILED",
      `the ${plugin.kind} "${plugin.id}" fails: ${firstLine(error)}`,
      {
        where: file,
        cause: error,
      },
    );
  };
  return new Proxy(plugin, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        try {
          const result = value.apply(target, args);
          return result instanceof Promise ? result.catch(tell) : result;
        } catch (error) {
          return tell(error);
        }
      };
    },
  });
}

function moduleError(message: string, where: string, cause?: unknown): LayerfoldError {
  return new LayerfoldError("PLUGIN_MODULE", message, { where, cause });
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}
