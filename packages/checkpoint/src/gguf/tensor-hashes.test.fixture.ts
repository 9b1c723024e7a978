import { createHash } from "node:crypto";
import type { Checkpoint } from "../checkpoint.js";

/** SHA-256 of every tensor's bytes, hex, by name. */
export async function tensorHashes(
  checkpoint: Pick<Checkpoint, "tensors" | "readBytes">,
): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const name of checkpoint.tensors.keys()) {
    hashes[name] = createHash("sha256")
      .update(await checkpoint.readBytes(name))
      .digest("hex");
  }
  return hashes;
}
