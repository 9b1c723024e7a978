import { readTextFile } from "@layerfold/checkpoint";
import {
  definePlanner,
  LayerfoldError,
  type MergePlan,
  type Planner,
  parseJson,
  parsePlan,
  z,
} from "@layerfold/core";
import { fileFingerprint } from "../manifest.js";
import { madeIn } from "../registry.js";

/** @throws PLAN_INVALID, and what `readTextFile` throws */
export async function readPlan(file: string): Promise<MergePlan> {
  const text = await readTextFile(file);
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new LayerfoldError("PLAN_INVALID", `cannot read the plan: ${(cause as Error).message}`, {
      where: file,
      cause,
    });
  }
  return parsePlan(value, file);
}

/** Whether what stands for a planner is a plan. */
export function isPlanFile(planner: string): boolean {
  return planner.endsWith(".json");
}

/** A planner that always gives the plan in a file. @throws PLAN_INVALID; when it plans, PLAN_MISMATCH for another number of layers */
export async function plannerFromFile(file: string): Promise<Planner> {
  const given = await readPlan(file);
  const planner = definePlanner({
    id: "given",
    summary: "the plan in a file",
    optionsSchema: z.strictObject({ file: z.string(), sha256: z.string() }),
    create: () => ({
      needs: [],
      plan({ layerCount }, targetLayerCount) {
        if (given.num_hidden_layers === layerCount && given.groups.length === targetLayerCount) return given;
        throw new LayerfoldError("PLAN_MISMATCH", "the plan leaves another number of layers", {
          wanted: `${layerCount} → ${targetLayerCount} layers`,
          got: `${given.num_hidden_layers} → ${given.groups.length}`,
          where: file,
        });
      },
    }),
  });
  return madeIn(import.meta.url, planner({ file, sha256: await fileFingerprint(file) }));
}
