import { randomUUID } from "node:crypto";
import { LayerfoldError, type Plugin } from "@layerfold/core";
import { type Json, jsonDigest } from "@layerfold/tasks";
import { codeOfPlugin, knownIds, makeBuiltIn, openPluginModule, type PluginModule } from "./registry.js";

/** A plug-in as a task names it among its parameters. */
export type PluginReference = {
  readonly kind: string;
  readonly id: string;
  readonly options: Json;
  /** Digest of the code that it is made of. */
  readonly code: string;
};

/** What stands in the place of the code of a plug-in that came from no module. */
const inCode = "object";

/** Plug-ins that tasks of this process may name. */
const known = new Map<string, Plugin>();
const references = new WeakMap<Plugin, PluginReference>();

/**
 * Names a plug-in. One that was handed over in code, from no module that is known, gets a name that holds for this process only: what was made
 * with it is not found again by another.
 */
export function referenceOf(plugin: Plugin): PluginReference {
  const before = references.get(plugin);
  if (before) return before;
  const { kind, id, options } = plugin;
  const code = codeOfPlugin(plugin) ?? `${inCode} ${randomUUID()}`;
  const reference = { kind, id, options: options as Json, code };
  references.set(plugin, reference);
  known.set(jsonDigest(reference), plugin);
  return reference;
}

/** The same of one that there may not be. */
export function optionalReference(plugin: Plugin | undefined): PluginReference | null {
  return plugin ? referenceOf(plugin) : null;
}

/** Modules that this process was given, for tasks that name what they hold. */
const offered: PluginModule[] = [];

/** Lets tasks of this process name what a user's module holds. @throws PLUGIN_MODULE */
export async function offerPlugin(path: string): Promise<void> {
  offered.push(await openPluginModule(path));
}

/**
 * @throws PLUGIN_CODE where this process has the plug-in in another version, PLUGIN_ABSENT where it was handed over in code, or came from a module
 * that this process was not given
 */
export function pluginOf<P extends Plugin>(reference: PluginReference): P {
  const here = known.get(jsonDigest(reference));
  if (here) return here as P;
  const { kind, id, code } = reference;
  const options = reference.options as Record<string, unknown>;
  const module = offered.find((candidate) => candidate.kind === kind && candidate.id === id);
  if (!module && !knownIds(kind).includes(id)) {
    throw new LayerfoldError("PLUGIN_ABSENT", "this process does not have a plug-in that a task names", {
      wanted: "layerfold work --plugin MODULE, or a plug-in of layerfold's own",
      got: code.startsWith(inCode) ? "one that was handed over in code" : `${kind} ${id}`,
      fault: "environment",
    });
  }
  const made = module ? module.make<P>(options) : makeBuiltIn<P>(kind, id, options);
  known.set(jsonDigest(reference), made);
  if (codeOfPlugin(made) === code) return made;
  known.delete(jsonDigest(reference));
  throw new LayerfoldError("PLUGIN_CODE", "this plug-in is of another version here", {
    where: `${reference.kind} ${reference.id}`,
    fault: "environment",
  });
}
