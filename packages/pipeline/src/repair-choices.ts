import type { Repair } from "@layerfold/core";
import { presets, type RepairChoice } from "@layerfold/merge";
import { builtIns, makeBuiltIn } from "./registry.js";

/** What may be written in the stead of a repair that does not fit a model; a part of `layerfold compress`: methods too. */
export function repairChoices(repair: Repair, { methods = false } = {}): RepairChoice[] {
  const made = (id: string, options: Readonly<Record<string, unknown>> = {}) => ({
    repair: makeBuiltIn<Repair>("repair", id, options),
  });
  const ids = builtIns.filter(({ kind }) => kind === "repair").map(({ id }) => id);
  const known = ids.includes(repair.id);
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
