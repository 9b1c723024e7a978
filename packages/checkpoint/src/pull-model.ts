import { homedir } from "node:os";
import { join } from "node:path";
import { HubApiError, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { LayerfoldError, type RunContext, throwIfAborted, z } from "@layerfold/core";
import { fileError, isFileError, writeWholeFile } from "@layerfold/disk";
import { isCarried } from "./carried-files.js";
import { connectHub, type HubSettings, HubStatus, reasonOf } from "./hub-connection.js";
import { checkedCommit, checkedFile, isSafePath } from "./hub-names.js";
import { readJsonObject } from "./json-file.js";
import { pullFile } from "./pull-file.js";
import { quantizationFiles } from "./read-quantization.js";

/**
 * Settings from the variables that huggingface_hub reads: HF_ENDPOINT; HF_TOKEN or HUGGING_FACE_HUB_TOKEN; HF_HUB_CACHE,
 * HUGGINGFACE_HUB_CACHE, HF_HOME or XDG_CACHE_HOME; HF_HUB_DOWNLOAD_TIMEOUT, in seconds.
 */
export function hubSettings(environment: Readonly<Record<string, string | undefined>>): HubSettings {
  const {
    HF_HOME,
    XDG_CACHE_HOME,
    HF_HUB_CACHE,
    HUGGINGFACE_HUB_CACHE,
    HF_ENDPOINT,
    HF_HUB_DOWNLOAD_TIMEOUT,
  } = environment;
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  return {
    hubUrl: HF_ENDPOINT,
    accessToken: environment.HF_TOKEN ?? environment.HUGGING_FACE_HUB_TOKEN,
    ...(Number(HF_HUB_DOWNLOAD_TIMEOUT) > 0 && { idleTimeout: Number(HF_HUB_DOWNLOAD_TIMEOUT) }),
    cacheDirectory: HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? join(home, "hub"),
  };
}

/**
 * Downloads what a checkpoint needs (config, safetensors, tokenizer, licence, and the file that names a quantisation) into the hub's cache and returns its folder there. The
 * revision is resolved to a commit once and every file is of that commit. What is in the cache is not downloaded again, a download
 * that was cut off goes on where it stopped, and every file is checked against its hash. Nothing the hub says is used before it is checked.
 *
 * @param model - `org/name`, or `org/name@revision` (branch, tag or commit; default main)
 * @throws HUB_NAME, HUB_ENDPOINT, HUB_NOT_FOUND, HUB_DENIED, HUB_UNREACHABLE, HUB_INVALID, HUB_CORRUPT, CACHE_CORRUPT, WEIGHTS_PICKLED,
 * WEIGHTS_MISSING, CHECKPOINT_MISSING, INDEX_INVALID, SHARD_MISSING, DISK_FULL, INTERRUPTED
 */
export async function pullModel(
  model: string,
  settings: HubSettings,
  ctx: Pick<RunContext, "signal" | "report"> = {},
): Promise<string> {
  const [, name, revision = "main"] = /^([^/@]+\/[^/@]+)(?:@(.+))?$/.exec(model) ?? [];
  if (name === undefined || !/^[\w.-]+\/[\w.-]+$/.test(name) || !isSafePath(name) || !isSafePath(revision)) {
    throw new LayerfoldError("HUB_NAME", "not the name of a model", {
      wanted: "org/name or org/name@revision",
      got: model,
    });
  }
  const hub = connectHub(settings, ctx);
  const access = { hubUrl: hub.url, fetch: hub.fetch };
  const storage = join(settings.cacheDirectory, `models--${name.replace("/", "--")}`);
  try {
    const info = await modelInfo({ ...access, name, revision, additionalFields: ["sha"] });
    const sha = checkedCommit(info.sha, model);
    const snapshot = join(storage, "snapshots", sha);
    const entries = new Map<string, ListFileEntry>();
    for await (const entry of listFiles({ ...access, repo: name, revision: sha }))
      if (entry.type === "file") entries.set(entry.path, entry);
    const fetchAll = async (paths: readonly string[]) => {
      const files = paths.map((path) => checkedFile(entries.get(path), model));
      const total = files.reduce((sum, { size }) => sum + size, 0);
      let before = 0;
      for (const file of files) {
        const source = `${name}/resolve/${sha}/${file.path.split("/").map(encodeURIComponent).join("/")}`;
        const progress = (done: number) =>
          ctx.report?.({ type: "progress", stage: "download", done: before + done, total, unit: "bytes" });
        await pullFile(hub, source, file, storage, snapshot, progress);
        before += file.size;
      }
    };
    await fetchAll(["config.json", "model.safetensors.index.json"].filter((path) => entries.has(path)));
    const weights = await weightFiles(entries, snapshot, model);
    const beside = (path: string) => isCarried(path) || quantizationFiles.includes(path);
    await fetchAll([...weights, ...[...entries.keys()].filter(beside)]);
    if (revision !== sha) await writeWholeFile(join(storage, "refs", revision), sha);
    return snapshot;
  } catch (error) {
    throwIfAborted(ctx.signal);
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
  const shards = await shardsOf(join(snapshot, "model.safetensors.index.json"));
  const missing = shards.find((path) => !entries.has(path));
  if (missing) {
    throw new LayerfoldError("SHARD_MISSING", `the index names ${missing}, which is not there`, {
      where: model,
    });
  }
  return shards;
}

/** The files that an index names. @throws INDEX_INVALID */
async function shardsOf(file: string): Promise<string[]> {
  const index = await readJsonObject(file, "INDEX_INVALID");
  const parsed = z.object({ weight_map: z.record(z.string(), z.string()) }).safeParse(index);
  if (parsed.success) return [...new Set(Object.values(parsed.data.weight_map))];
  throw new LayerfoldError("INDEX_INVALID", "weight_map must map tensor names to files", { where: file });
}

function hubError(error: unknown, model: string): LayerfoldError {
  if (error instanceof LayerfoldError) return error;
  const status =
    error instanceof HubStatus ? error.status : error instanceof HubApiError ? error.statusCode : undefined;
  if (status === 401 || status === 403) {
    return new LayerfoldError(
      "HUB_DENIED",
      "the hub denies access: the model is private, gated or not there; HF_TOKEN holds a token",
      { where: model, cause: error },
    );
  }
  if (status === 404) {
    return new LayerfoldError("HUB_NOT_FOUND", "the hub has no such model, revision or file", {
      where: model,
      cause: error,
    });
  }
  const environment = { where: model, fault: "environment", cause: error } as const;
  const reason = reasonOf(error);
  if (status !== undefined) return new LayerfoldError("HUB_UNREACHABLE", reason, environment);
  if (isFileError(error)) return fileError(error, model) as LayerfoldError;
  // `fetch` failed; all else comes from answers of another shape than the hub's.
  if (error instanceof TypeError && error.cause !== undefined)
    return new LayerfoldError("HUB_UNREACHABLE", `cannot reach the hub: ${reason}`, environment);
  return new LayerfoldError("HUB_INVALID", "the hub's answer cannot be used", {
    ...environment,
    got: reason,
  });
}
