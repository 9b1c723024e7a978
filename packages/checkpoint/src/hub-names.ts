import { LayerfoldError, quoted, z } from "@layerfold/core";

/** A file of a repository as it is taken into the cache: everything in it is safe to build a path from. */
export interface HubFile {
  /** Relative, with `/`; names nothing outside the folder that it is joined to. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** 64 hex digits of a large file, 40 of a small one. */
  readonly hash: string;
  readonly large: boolean;
}

/** A path that stays inside the folder it is joined to, on every system. */
export function isSafePath(path: string): boolean {
  // A colon begins a drive or an alternate stream on Windows.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
  if (/[\\:\u0000-\u001f]/.test(path)) return false;
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** @throws HUB_INVALID for anything but the 40 hex digits of a commit */
export function checkedCommit(sha: unknown, model: string): string {
  if (typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha)) return sha;
  throw hubInvalid("the revision", "a commit of 40 hex digits", sha, model);
}

const safePath = z.string().refine(isSafePath, "a relative path without ..");
const size = z.number().int().nonnegative();
const fileSchema = z.union([
  z.object({
    path: safePath,
    size,
    lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/) }),
  }),
  z.object({ path: safePath, size, lfs: z.null().optional(), oid: z.string().regex(/^[0-9a-f]{40}$/) }),
]);

/** @throws HUB_INVALID for a path that leaves its folder, a hash that is none, or a size that is no count of bytes */
export function checkedFile(entry: unknown, model: string): HubFile {
  const parsed = fileSchema.safeParse(entry);
  if (!parsed.success) {
    const wanted = "a relative path without .., a hash of 40 or 64 hex digits and a size";
    throw hubInvalid("a file", wanted, entry, model);
  }
  const { data } = parsed;
  const { path, size } = data;
  return "oid" in data
    ? { path, size, hash: data.oid, large: false }
    : { path, size, hash: data.lfs.oid, large: true };
}

function hubInvalid(what: string, wanted: string, got: unknown, where: string): LayerfoldError {
  const shown = quoted(got);
  return new LayerfoldError("HUB_INVALID", `the hub describes ${what} in a way that is not safe to use`, {
    wanted,
    got: shown.length > 200 ? `${shown.slice(0, 200)}…` : shown,
    where,
    fault: "environment",
  });
}
