import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { copyFile, lstat, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { downloadFile, HubApiError, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import { isCarried } from "./carried-files.js";
import { fileError } from "./file-error.js";
import { quantizationFiles } from "./read-quantization.js";

export interface HubSettings {
  /** Default the public hub. */
  readonly hubUrl?: string;
  /** For private and gated models. */
  readonly accessToken?: string;
  /** The folder that holds `models--org--name`, shared with Python's huggingface_hub. */
  readonly cacheDirectory: string;
}

/**
 * Settings from the variables that huggingface_hub reads: HF_ENDPOINT; HF_TOKEN or HUGGING_FACE_HUB_TOKEN; HF_HUB_CACHE,
 * HUGGINGFACE_HUB_CACHE, HF_HOME or XDG_CACHE_HOME.
 */
export function hubSettings(environment: Readonly<Record<string, string | undefined>>): HubSettings {
  const { HF_HOME, XDG_CACHE_HOME, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_ENDPOINT } = environment;
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  return {
    hubUrl: HF_ENDPOINT,
    accessToken: environment.HF_TOKEN ?? environment.HUGGING_FACE_HUB_TOKEN,
    cacheDirectory: HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? join(home, "hub"),
  };
}

/**
 * Downloads what a checkpoint needs (config, safetensors, tokenizer, licence, and the file that names a quantisation) into the hub's cache and returns its folder there. The
 * revision is resolved to a commit once and every file is of that commit. What is in the cache is not downloaded again, a download
 * that was cut off goes on where it stopped, and every file is checked against its hash.
 *
 * @param model - `org/name`, or `org/name@revision` (branch, tag or commit; default main)
 * @throws HUB_NAME, HUB_NOT_FOUND, HUB_DENIED, HUB_UNREACHABLE, HUB_CORRUPT, WEIGHTS_PICKLED, WEIGHTS_MISSING, CHECKPOINT_MISSING,
 * DISK_FULL, INTERRUPTED
 */
export async function pullModel(
  model: string,
  settings: HubSettings,
  ctx: Pick<RunContext, "signal" | "report"> = {},
): Promise<string> {
  const named = /^([\w.-]+\/[\w.-]+)(?:@(.+))?$/.exec(model);
  if (!named)
    throw new LayerfoldError("HUB_NAME", "not the name of a model", {
      wanted: "org/name or org/name@revision",
      got: model,
    });
  const [, name, revision = "main"] = named;
  const { signal } = ctx;
  const hub = {
    hubUrl: settings.hubUrl,
    accessToken: settings.accessToken,
    fetch: ((input, init) => fetch(input, { ...init, signal })) as typeof fetch,
  };
  const storage = join(settings.cacheDirectory, `models--${name.replace("/", "--")}`);
  try {
    const { sha } = await modelInfo({ ...hub, name, revision, additionalFields: ["sha"] });
    const snapshot = join(storage, "snapshots", sha);
    const entries = new Map<string, ListFileEntry>();
    for await (const entry of listFiles({ ...hub, repo: name, revision: sha }))
      entries.set(entry.path, entry);
    const fetchAll = async (paths: readonly string[]) => {
      const files = paths.map((path) => entries.get(path)!);
      const total = files.reduce((sum, { size }) => sum + size, 0);
      let before = 0;
      for (const entry of files) {
        const open = (offset: number) =>
          downloadFile({ ...hub, repo: name, revision: sha, path: entry.path }).then((blob) =>
            blob?.slice(offset),
          );
        const progress = (done: number) =>
          ctx.report?.({ type: "progress", stage: "download", done: before + done, total, unit: "bytes" });
        await pullFile(entry, join(storage, "blobs"), snapshot, open, progress, signal);
        before += entry.size;
      }
    };
    await fetchAll(["config.json", "model.safetensors.index.json"].filter((path) => entries.has(path)));
    const weights = await weightFiles(entries, snapshot, model);
    const beside = (path: string) => isCarried(path) || quantizationFiles.includes(path);
    await fetchAll([...weights, ...[...entries.keys()].filter(beside)]);
    if (revision !== sha) {
      await mkdir(dirname(join(storage, "refs", revision)), { recursive: true });
      await writeFile(join(storage, "refs", revision), sha);
    }
    return snapshot;
  } catch (error) {
    throwIfAborted(signal);
    throw hubError(error, model);
  }
}

/** One safetensors file, or the shards that the index names. */
async function weightFiles(
  entries: ReadonlyMap<string, ListFileEntry>,
  snapshot: string,
  model: string,
): Promise<string[]> {
  if (!entries.has("config.json")) {
    throw new LayerfoldError("CHECKPOINT_MISSING", "the repository is no checkpoint", {
      wanted: "config.json",
      where: model,
    });
  }
  if (entries.has("model.safetensors")) return ["model.safetensors"];
  if (!entries.has("model.safetensors.index.json")) {
    const pickled = [...entries.keys()].some((path) => path.endsWith(".bin"));
    throw new LayerfoldError(
      pickled ? "WEIGHTS_PICKLED" : "WEIGHTS_MISSING",
      pickled
        ? "the repository has pickled weights only; convert them with transformers' save_pretrained"
        : "the repository has no weights",
      { wanted: "*.safetensors", where: model },
    );
  }
  const index = JSON.parse(await readFile(join(snapshot, "model.safetensors.index.json"), "utf8"));
  const shards = [...new Set(Object.values<string>(index.weight_map ?? {}))];
  const missing = shards.find((path) => !entries.has(path));
  if (missing) {
    throw new LayerfoldError("SHARD_MISSING", `the index names ${missing}, which is not there`, {
      where: model,
    });
  }
  return shards;
}

/** Brings one file into blobs/HASH, with a link to it from the snapshot. */
async function pullFile(
  { path, oid, lfs, size }: ListFileEntry,
  blobs: string,
  snapshot: string,
  open: (offset: number) => Promise<Blob | undefined>,
  progress: (done: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  // Only the entries of a bucket have no oid.
  const hash = lfs?.oid ?? oid!;
  const blob = join(blobs, hash);
  const link = join(snapshot, path);
  if (!(await stat(blob).catch(() => undefined))) {
    const partial = `${blob}.incomplete`;
    await mkdir(blobs, { recursive: true });
    let done = (await stat(partial).catch(() => undefined))?.size ?? 0;
    if (done < size || size === 0) {
      const rest = await open(done);
      if (!rest) throw new LayerfoldError("HUB_NOT_FOUND", `no file ${path}`, { where: snapshot });
      const source = Readable.fromWeb(rest.stream() as ReadableStream);
      const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          progress((done += chunk.length));
          yield chunk;
        }
      };
      await pipeline(source, counted, createWriteStream(partial, { flags: "a" }), { signal });
    }
    await verify(partial, hash, size, lfs !== undefined, path);
    await rename(partial, blob);
  }
  progress(size);
  if (await lstat(link).catch(() => undefined)) return;
  await mkdir(dirname(link), { recursive: true });
  // Where links are not allowed (Windows without rights) a copy does.
  await symlink(join("..", "..", "blobs", hash), link).catch(() => copyFile(blob, link));
}

/** A large file's hash is SHA-256 of its bytes, a small one's is git's: SHA-1 of a header and the bytes. */
async function verify(file: string, hash: string, size: number, large: boolean, path: string): Promise<void> {
  const digest = large ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  for await (const chunk of createReadStream(file)) digest.update(chunk);
  const got = digest.digest("hex");
  if (got === hash) return;
  await rm(file);
  throw new LayerfoldError(
    "HUB_CORRUPT",
    "a download does not have the bytes that the hub announced; try again",
    {
      wanted: hash,
      got,
      where: path,
      fault: "environment",
    },
  );
}

function hubError(error: unknown, model: string): LayerfoldError {
  if (error instanceof LayerfoldError) return error;
  if (error instanceof HubApiError) {
    const { statusCode } = error;
    if (statusCode === 401 || statusCode === 403) {
      return new LayerfoldError(
        "HUB_DENIED",
        "the hub denies access: the model is private, gated or not there; HF_TOKEN holds a token",
        {
          where: model,
          cause: error,
        },
      );
    }
    if (statusCode === 404)
      return new LayerfoldError("HUB_NOT_FOUND", "the hub has no such model or revision", {
        where: model,
        cause: error,
      });
    return new LayerfoldError("HUB_UNREACHABLE", error.message, {
      where: model,
      fault: "environment",
      cause: error,
    });
  }
  if ((error as NodeJS.ErrnoException).code?.startsWith("E")) return fileError(error, model);
  const reason = error instanceof Error ? error.message : String(error);
  return new LayerfoldError("HUB_UNREACHABLE", `cannot reach the hub: ${reason}`, {
    where: model,
    fault: "environment",
    cause: error,
  });
}
