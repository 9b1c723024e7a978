import type { ConformanceCheck } from "./conformance.js";

/** Names of the laws that a plug-in breaks. */
export async function brokenLaws(checks: readonly ConformanceCheck[]): Promise<string[]> {
  const names: string[] = [];
  for (const { name, run } of checks) await run().catch(() => names.push(name));
  return names;
}
