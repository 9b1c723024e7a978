import type { Checkpoint } from "@layerfold/checkpoint";
import {
  contiguousData,
  type LayerFacts,
  LayerfoldError,
  type PlanGroup,
  type Repair,
} from "@layerfold/core";

/** What repairs can judge a checkpoint's layers by. Reads the norms' biases, no other tensor. */
export async function layerFacts({
  architecture,
  read,
}: Pick<Checkpoint, "architecture" | "read">): Promise<LayerFacts[]> {
  const facts: LayerFacts[] = [];
  for (const [layer, spec] of architecture.blocks.entries()) {
    const normBiases = new Set<string>();
    for (const norm of [spec.mixerNorm, spec.feedForwardNorm]) {
      const name = norm?.bias === undefined ? undefined : spec.tensors.get(norm.bias);
      if (name === undefined) continue;
      if (contiguousData(await read(name)).some((value: number) => value !== 0)) normBiases.add(norm!.bias!);
    }
    facts.push({ layer, spec, normBiases });
  }
  return facts;
}

/** Another way that an error may name: what the user would write, and the repair that it stands for; without one nothing is repaired. */
export interface RepairChoice {
  /** Choices of one flag are named together. */
  readonly flag: string;
  readonly value: string;
  readonly repair?: Repair;
}

/**
 * Holds a repair against the layers before anything long is computed. Without a plan it is refused only where no fold behind layer 0
 * could be repaired, or no layer that stands for itself.
 *
 * @param groups - the plan's, where there is one already
 * @param others - of them the error names those that would do
 * @throws REPAIR_UNSUPPORTED
 */
export function checkRepair(
  repair: Repair,
  layers: readonly LayerFacts[],
  groups?: readonly PlanGroup[],
  others: readonly RepairChoice[] = [],
): void {
  const refused = refusal(repair, layers, groups);
  if (!refused) return;
  const fitting = others.filter(({ repair: other }) => !other || !refusal(other, layers, groups));
  const wanted = [...new Set(fitting.map(({ flag }) => flag))].map((flag) => {
    const values = fitting.filter((choice) => choice.flag === flag).map(({ value }) => value);
    return `${flag} ${values.join(" | ")}`;
  });
  const [first, last] = [refused.layers[0], refused.layers.at(-1)!];
  throw new LayerfoldError(
    "REPAIR_UNSUPPORTED",
    `the repair ${repair.id} does not fit this model: ${refused.reason}`,
    {
      wanted: wanted.join(", or ") || "another repair, or none",
      where: `layer${first === last ? ` ${first}` : `s ${first} to ${last}`} (${layers[first].spec.type})`,
    },
  );
}

interface Refusal {
  readonly layers: readonly number[];
  readonly reason: string;
}

function refusal(
  repair: Repair,
  layers: readonly LayerFacts[],
  groups: readonly PlanGroup[] | undefined,
): Refusal | undefined {
  const ask = (group: readonly number[]): Refusal | undefined => {
    const reason = repair.refuses?.(group.map((layer) => layers[layer]));
    return reason === undefined ? undefined : { layers: group, reason };
  };
  if (groups) {
    // What stands before the first change is the dense model, and left alone.
    const first = groups.findIndex((group) => group.layers.length > 1 || group.without);
    const asked = first < 0 ? [] : groups.slice(first);
    return asked.map((group) => ask(group.layers)).find((found) => found !== undefined);
  }
  const all = layers.map(({ layer }) => layer);
  const pairs = all.slice(layers.length > 2 ? 2 : 1).map((layer) => [layer - 1, layer]);
  const refusals = (asked: readonly (readonly number[])[]) => {
    const found = asked.map(ask);
    return found.length > 0 && found.every((one) => one !== undefined) ? found[0] : undefined;
  };
  return refusals(pairs) ?? refusals(all.map((layer) => [layer]));
}
