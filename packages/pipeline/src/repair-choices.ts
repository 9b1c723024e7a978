import type { Repair } from "@layerfold/core";
import { presets, type RepairChoice } from "@layerfold/merge";
import { builtIns } from "./registry.js";

/** What may be written in the stead of a repair that does not fit a model; a part of `layerfold compress`: methods too. */
export function repairChoices(repair: Repair, { methods = false } = {}): RepairChoice[] {
  const made = (id: string, options?: Readonly<Record<string, unknown>>) => {
    const factory = builtIns.find((factory) => factory.kind === "repair" && factory.id === id);
    return factory && { repair: factory(options) as Repair };
  };
  const known = builtIns.some(({ kind, id }) => kind === "repair" && id === repair.id);
  const ids = builtIns.filter(({ kind }) => kind === "repair").map(({ id }) => id);
  return [
    ...(methods
      ? presets.map((preset) => ({
          flag: "--method",
          value: preset.id,
          ...(preset.repair && made(preset.repair.id, preset.repair.options)),
        }))
      : []),
    // One of one's own is not made anew.
    ...(known ? (repair.alternatives ?? []) : []).map((options) => ({
      flag: "--set",
      value: Object.entries(options)
        .map(([name, value]) => `repair.${name}=${value}`)
        .join(" --set "),
      ...made(repair.id, { ...repair.options, ...options }),
    })),
    ...ids.map((id) => ({ flag: "--repair", value: id, ...made(id) })),
    ...(methods ? [{ flag: "--repair", value: "none" }] : []),
  ];
}
