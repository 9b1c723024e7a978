import { randomUUID } from "node:crypto";
import { LayerfoldError, type Plugin } from "@layerfold/core";
import { type Json, jsonDigest } from "@layerfold/tasks";
import { codeOfPlugin, makeBuiltIn } from "./registry.js";

/** A plug-in as a task names it among its parameters. */
export type PluginReference = {
  readonly kind: string;
  readonly id: string;
  readonly options: Json;
  /** Digest of the code that it is made of. */
  readonly code: string;
};

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
  const code = codeOfPlugin(plugin) ?? `object ${randomUUID()}`;
  const reference = { kind, id, options: options as Json, code };
  references.set(plugin, reference);
  known.set(jsonDigest(reference), plugin);
  return reference;
}

/** The same of one that there may not be. */
export function optionalReference(plugin: Plugin | undefined): PluginReference | null {
  return plugin ? referenceOf(plugin) : null;
}

/** @throws PLUGIN_CODE where this process has the plug-in in another version, PLUGIN_UNKNOWN where it has none of this name */
export function pluginOf<P extends Plugin>(reference: PluginReference): P {
  const here = known.get(jsonDigest(reference));
  if (here) return here as P;
  const made = makeBuiltIn<P>(reference.kind, reference.id, reference.options as Record<string, unknown>);
  if (codeOfPlugin(made) === reference.code) return made;
  throw new LayerfoldError("PLUGIN_CODE", "this plug-in is of another version here", {
    where: `${reference.kind} ${reference.id}`,
    fault: "environment",
  });
}
