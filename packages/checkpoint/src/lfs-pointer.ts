import { LayerfoldError } from "@layerfold/core";

const begin = "version https://git-lfs.github.com/spec/";

/** Bytes that tell a Git LFS pointer from anything else. */
export const lfsPointerBytes = begin.length;

/**
 * Names a Git LFS pointer: the few lines that a clone without Git LFS holds in place of a large file.
 * @param content - of the file, or its begin
 * @throws LFS_POINTER
 */
export function refuseLfsPointer(content: string | Uint8Array, file: string): void {
  const text =
    typeof content === "string" ? content : Buffer.from(content.subarray(0, begin.length)).toString("latin1");
  if (!text.startsWith(begin)) return;
  throw new LayerfoldError("LFS_POINTER", "a Git LFS pointer stands in the file's place", {
    wanted: "the file itself: `git lfs pull` in the clone brings it, or `layerfold pull` the model",
    where: file,
  });
}
