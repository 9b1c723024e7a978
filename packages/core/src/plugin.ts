import { z } from "zod";
import { LayerfoldError } from "./error.js";
import { suggestion } from "./suggestion.js";

/** What every plug-in carries, so that a manifest can repeat it and a cache can key on it. */
export interface Plugin {
  readonly kind: string;
  readonly id: string;
  /** Resolved options, JSON. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Makes a plug-in from options; carries what the command line needs to offer it by name. */
export interface PluginFactory<P extends Plugin = Plugin, S extends z.ZodObject = z.ZodObject> {
  (options?: z.input<S>): P;
  readonly kind: string;
  readonly id: string;
  readonly summary: string;
  readonly optionsSchema: S;
}

/**
 * Lifts a formula to a plug-in factory: checks options, fills defaults, attaches kind, id and options.
 *
 * @param definition.optionsSchema - a `z.strictObject` whose every field has a default (or is optional)
 * @throws OPTION_UNKNOWN or OPTION_INVALID from the factory, naming the known options
 *
 * @example
 * ```ts
 * interface Scale extends Plugin { apply(x: number): number }
 * const scale = definePlugin<Scale, typeof schema>({
 *   kind: "demo", id: "scale", summary: "multiplies",
 *   optionsSchema: schema, // z.strictObject({ factor: z.number().default(2) })
 *   create: ({ factor }) => ({ apply: (x: number) => x * factor }),
 * });
 * assert(scale().apply(3) === 6);
 * assert(scale({ factor: 5 }).options.factor === 5);
 * ```
 */
export function definePlugin<P extends Plugin, S extends z.ZodObject>(definition: {
  kind: P["kind"];
  id: string;
  summary: string;
  optionsSchema: S;
  create: (options: z.output<S>) => Omit<P, keyof Plugin>;
}): PluginFactory<P, S> {
  const { kind, id, summary, optionsSchema, create } = definition;
  const factory = (options?: z.input<S>) => {
    const resolved = parseOptions(optionsSchema, options ?? {}, `${kind} ${id}`);
    return { kind, id, options: resolved, ...create(resolved) } as unknown as P;
  };
  return Object.assign(factory, { kind, id, summary, optionsSchema });
}

/** `definePlugin` for one kind: what is left to say is id, summary, options and the formula. */
export interface PluginDefinition<P extends Plugin, S extends z.ZodObject> {
  id: string;
  summary: string;
  optionsSchema: S;
  create: (options: z.output<S>) => Omit<P, keyof Plugin>;
}

/**
 * Validates options against a schema.
 * @throws OPTION_UNKNOWN, OPTION_INVALID
 */
export function parseOptions<S extends z.ZodObject>(schema: S, options: unknown, where: string): z.output<S> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const known = Object.keys(schema.shape);
  if (issue.code === "unrecognized_keys") {
    throw new LayerfoldError("OPTION_UNKNOWN", `unknown option${suggestion(issue.keys[0], known)}`, {
      wanted: `one of: ${known.join(", ") || "none"}`,
      got: issue.keys.join(", "),
      where,
    });
  }
  throw new LayerfoldError("OPTION_INVALID", issue.message, {
    where: `${where}${issue.path.length > 0 ? `, option ${issue.path.join(".")}` : ""}`,
  });
}

export { z };
