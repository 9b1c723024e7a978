import { fileURLToPath } from "node:url";
import { codeDigest } from "@layerfold/tasks";
import { registryModule } from "../registry.js";

/**
 * Digest of the code that a kind of task is made of, plug-ins left out: those stand among its parameters.
 * @param module - `import.meta.url` of the module that defines it
 */
export function taskCode(module: string): () => string {
  let digest: string | undefined;
  return () => (digest ??= codeDigest([fileURLToPath(module)], { except: [registryModule] }));
}
