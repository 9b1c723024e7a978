import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { LayerfoldError, type Plugin, type PluginFactory, suggestion } from "@layerfold/core";
import * as information from "@layerfold/information";
import * as manifold from "@layerfold/manifold";
import * as merge from "@layerfold/merge";
import * as similarity from "@layerfold/similarity";
import { type DataFact, dataFact, type PluginFact } from "./manifest.js";

type AnyFactory = PluginFactory<Plugin>;

const isFactory = (value: unknown): value is AnyFactory =>
  typeof value === "function" && "kind" in value && "id" in value && "optionsSchema" in value;

/** Every built-in plug-in: what the packages export as factories. */
export const builtIns: readonly AnyFactory[] = [manifold, information, similarity, merge].flatMap((module) =>
  Object.values(module).filter(isFactory),
);

/** Ids of the built-in plug-ins of a kind, sorted. */
export function knownIds(kind: string): string[] {
  return builtIns
    .filter((factory) => factory.kind === kind)
    .map((factory) => factory.id)
    .sort();
}

/** The user's modules that plug-ins came from. */
const modules = new WeakMap<Plugin, DataFact>();

/** The part of a manifest that a plug-in accounts for. */
export function pluginFact(plugin: Plugin): PluginFact {
  const module = modules.get(plugin);
  return { kind: plugin.kind, id: plugin.id, options: plugin.options, ...(module && { module }) };
}

/** The same of several; those that there are not are passed over. */
export function pluginFacts(...plugins: readonly (Plugin | undefined)[]): PluginFact[] {
  return plugins.flatMap((plugin) => (plugin ? [pluginFact(plugin)] : []));
}

/**
 * Makes a plug-in by its id, or from a user's module (`./measure.js`, `./measure.ts`) whose default export is a factory or a plug-in.
 *
 * @throws PLUGIN_UNKNOWN naming the known ones; PLUGIN_MODULE when the module does not hold a plug-in of this kind
 */
export async function makePlugin<P extends Plugin>(
  kind: P["kind"],
  name: string,
  options: Record<string, unknown>,
): Promise<P> {
  if (/^[./~]|^[A-Za-z]:\\|\.[cm]?[jt]s$/.test(name)) return pluginFromModule<P>(kind, name, options);
  const factory = builtIns.find((candidate) => candidate.kind === kind && candidate.id === name);
  if (!factory) {
    const known = knownIds(kind);
    throw new LayerfoldError("PLUGIN_UNKNOWN", `no ${kind} of this name${suggestion(name, known)}`, {
      wanted: `${known.join(", ")}, or a path to a module`,
      got: name,
    });
  }
  return factory(options) as P;
}

async function pluginFromModule<P extends Plugin>(
  kind: string,
  path: string,
  options: Record<string, unknown>,
): Promise<P> {
  const file = resolve(path);
  let exported: unknown;
  try {
    if (/\.[cm]?ts$/.test(file)) {
      // Node 20 does not run TypeScript by itself.
      const { createJiti } = await import("jiti");
      exported = await createJiti(import.meta.url).import(file, { default: true });
    } else {
      exported = (await import(pathToFileURL(file).href)).default;
    }
  } catch (cause) {
    throw new LayerfoldError("PLUGIN_MODULE", `cannot load the module: ${(cause as Error).message}`, {
      where: file,
      cause,
    });
  }
  const made = typeof exported === "function" ? exported(options) : exported;
  if (made?.kind !== kind || typeof made.id !== "string") {
    throw new LayerfoldError("PLUGIN_MODULE", `the module's default export is no ${kind}`, {
      wanted: `a plug-in or a factory of plug-ins with kind "${kind}"`,
      got: made?.kind === undefined ? typeof exported : `kind "${made.kind}"`,
      where: file,
    });
  }
  modules.set(made, await dataFact(file));
  return made as P;
}
