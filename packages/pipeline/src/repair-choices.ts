import type { Repair } from "@layerfold/core";
import { presets, type RepairChoice } from "@layerfold/merge";
import { builtIns } from "./registry.js";

/** What may be written in the stead of a repair that does not fit a model; a part of `layerfold compress`: methods too. */
export function repairChoices(repair: Repair, { methods = false } = {}): RepairChoice[] {
  const make = (id: string, options?: Readonly<Record<string, unknown>>) =>
    builtIns.find((factory) => factory.kind === "repair" && factory.id === id)?.(options) as
      | Repair
      | undefined;
  const without = { "component-fold": "none", concatenate: false }[repair.id];
  const ids = builtIns.filter(({ kind }) => kind === "repair").map(({ id }) => id);
  return [
    ...(methods
      ? presets.map((preset) => ({
          flag: "--method",
          value: preset.id,
          repair: preset.repair && make(preset.repair.id, preset.repair.options),
        }))
      : []),
    ...(without === undefined
      ? []
      : [
          {
            flag: "--set",
            value: `repair.heads=${without}`,
            repair: make(repair.id, { ...repair.options, heads: without }),
          },
        ]),
    ...ids.map((id) => ({ flag: "--repair", value: id, repair: make(id) })),
    ...(methods ? [{ flag: "--repair", value: "none" }] : []),
  ];
}
