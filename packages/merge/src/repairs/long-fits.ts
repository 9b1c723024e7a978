import type { RunContext } from "@layerfold/core";

/** From so many features on, a step of a fit takes long enough that a person who watches is told. */
const manyFeatures = 8192;

/** Says which step of a large fit begins. */
export function sayStep(where: string, step: string, features: number, ctx: RunContext): void {
  if (features < manyFeatures) return;
  ctx.report?.({ type: "status", message: `${where}: ${step}` });
}
