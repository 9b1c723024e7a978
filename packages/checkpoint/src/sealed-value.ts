import { createHash } from "node:crypto";
import { deserialize, serialize } from "node:v8";

const sealBytes = 32;

/**
 * A value (plain data, maps and typed arrays) as bytes that tell whether they are still whole: SHA-256, then Node's serialisation. For what
 * a command keeps for its own next run.
 */
export function sealValue(value: unknown): Uint8Array {
  const content = serialize(value);
  return Buffer.concat([seal(content), content]);
}

/** What `sealValue` made bytes of; undefined where they are damaged, or of a Node whose serialisation this one does not read. */
export function unsealValue(bytes: Uint8Array): unknown {
  const content = bytes.subarray(sealBytes);
  if (!seal(content).equals(bytes.subarray(0, sealBytes))) return undefined;
  try {
    return deserialize(content);
  } catch {
    return undefined;
  }
}

function seal(content: Uint8Array): Buffer {
  return createHash("sha256").update(content).digest();
}
