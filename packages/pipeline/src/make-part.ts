import { LayerfoldError, type Plugin } from "@layerfold/core";
import type { PresetPart } from "@layerfold/merge";
import type { Part } from "./recipe/recipe-schema.js";
import { makePlugin, requirePlugin } from "./registry.js";

/**
 * Makes plug-ins from what names them; the same name gives the same plug-in.
 * @param others - options that overrule those of the part and of `--set`
 * @throws as `makePlugin`; OPTION_UNKNOWN where options are set of a plug-in that was handed over made
 */
export type PartMaker = <P extends Plugin>(
  kind: P["kind"],
  part: Part<P>,
  others?: PresetPart["options"],
) => Promise<P>;

/** @param options - of every plug-in of a kind, as `--set` says */
export function partMaker(options: (kind: string) => Readonly<Record<string, unknown>>): PartMaker {
  const made = new Map<unknown, Promise<Plugin>>();
  const remembered = <P extends Plugin>(key: unknown, make: () => Promise<P>): Promise<P> => {
    const before = made.get(key);
    if (before) return before as Promise<P>;
    const now = make();
    made.set(key, now);
    return now;
  };
  return (kind, part, others) => {
    const set = options(kind);
    if (typeof part === "function" || (typeof part === "object" && "kind" in part)) {
      const given = { ...set, ...others };
      return remembered(part, async () => handedOver(kind, part as object, given));
    }
    const { id, options: own } = typeof part === "string" ? { id: part } : (part as PresetPart);
    const all = { ...own, ...set, ...others };
    return remembered(JSON.stringify([kind, id, all]), () => makePlugin(kind, id, all));
  };
}

/** A plug-in, or its factory, as it was handed over in code. */
function handedOver<P extends Plugin>(
  kind: P["kind"],
  part: object,
  options: Readonly<Record<string, unknown>>,
): P {
  const made = typeof part === "function" ? part(options) : part;
  requirePlugin(kind, made, { what: `what was given as ${kind}`, where: kind });
  if (typeof part !== "function" && Object.keys(options).length > 0) {
    throw new LayerfoldError(
      "OPTION_UNKNOWN",
      `the ${kind} ${made.id} was handed over with options of its own`,
      {
        wanted: "its factory, or options given when it is made",
        got: Object.keys(options).join(", "),
        where: kind,
      },
    );
  }
  return made as P;
}

/** What a part is called: an id or a path's last name, and the options that it is given. */
export function partName(part: Part): string {
  if (typeof part === "string") return lastName(part);
  const given = typeof part === "function" || "kind" in part ? {} : (part.options ?? {});
  const options = Object.entries(given).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const name = lastName(part.id);
  return options.length > 0 ? `${name}(${options.join(",").replaceAll(/[\\/]/g, "-")})` : name;
}

function lastName(path: string): string {
  return path.split(/[\\/]/).at(-1)!;
}
