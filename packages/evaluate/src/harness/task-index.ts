import { readdirSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, dirname, extname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { readTextFile } from "@layerfold/checkpoint";
import { isLayerfoldError, LayerfoldError, suggestion, z } from "@layerfold/core";
import { parseDocument } from "yaml";
import { PythonFunction, readTaskConfig, type TaskConfig } from "./task-config.js";

/** A group's figure over its tasks. */
export interface GroupMetric {
  readonly metric: string;
  /** Absent: every filter that its tasks have. */
  readonly filter_list?: readonly string[] | undefined;
  readonly weight_by_size: boolean;
}

/** Tasks under one name. */
export interface TaskGroup {
  readonly kind: "group";
  readonly name: string;
  readonly alias: string;
  readonly children: readonly TaskNode[];
  /** Empty where there is no figure of the whole: a tag, or a group that asks for none. */
  readonly metrics: readonly GroupMetric[];
  readonly version: string;
}

export interface SingleTask {
  readonly kind: "task";
  readonly name: string;
  readonly config: TaskConfig;
}

export type TaskNode = TaskGroup | SingleTask;

type Fields = Readonly<Record<string, unknown>>;

/** A task or group as its file has it. */
interface Entry {
  readonly fields: Fields;
  readonly file: string;
}

const folder = fileURLToPath(new URL("../../tasks/", import.meta.url));
const isTaskFile = (name: string) => [".yaml", ".yml"].includes(extname(name)) && !name.startsWith("_");

/** Names of the files of built-in tasks: what `--task NAME:FILE` takes. */
export const builtInTasks: readonly string[] = readdirSync(folder)
  .filter(isTaskFile)
  .map((name) => basename(name, extname(name)));

/** Whether a task's name is the path of a task file. */
export function isTaskPath(name: string): boolean {
  return [".yaml", ".yml", ".json"].includes(extname(name));
}

/**
 * Finds a task, a group or a tag by its name, among the built-in ones, or a task file by its path; what a group of such a file names is looked for in
 * its folder first.
 * @throws TASK_UNKNOWN with the nearest known name, TASK_INVALID, TASK_FIELD_UNSUPPORTED, and what `readTextFile` throws
 */
export async function findTask(name: string): Promise<TaskNode> {
  const builtIn = await readFolder(folder);
  if (!isTaskPath(name)) return byName(name, builtIn, []);
  const file = resolve(name);
  const [fields] = await readFile(file);
  const entry = { fields, file };
  const beside =
    fields.group === undefined || file.startsWith(folder) ? [] : await readFolder(dirname(file), true);
  return nodeOf(entry, [...beside, ...builtIn], []);
}

function byName(
  name: string,
  entries: readonly Entry[],
  within: readonly string[],
): Promise<TaskNode> | TaskNode {
  const entry = entries.find(({ fields }) => (fields.group ?? fields.task) === name);
  if (entry) return nodeOf(entry, entries, within);
  const tagged = entries.filter(
    ({ fields }) => fields.group === undefined && [fields.tag ?? []].flat().includes(name),
  );
  if (tagged.length > 0) return tagGroup(name, tagged, entries, within);
  const known = entries
    .flatMap(({ fields }) => [fields.group ?? fields.task, ...[fields.tag ?? []].flat()])
    .map(String);
  throw new LayerfoldError("TASK_UNKNOWN", `no task of this name${suggestion(name, known)}`, {
    wanted: builtInTasks.join(", "),
    got: name,
  });
}

async function tagGroup(
  name: string,
  tagged: readonly Entry[],
  entries: readonly Entry[],
  within: readonly string[],
): Promise<TaskGroup> {
  const children = await Promise.all(tagged.map((one) => nodeOf(one, entries, within)));
  return { kind: "group", name, alias: name, children, metrics: [], version: "N/A" };
}

const groupSchema = z.strictObject({
  group: z.string().min(1),
  group_alias: z.string().nullish(),
  task: z.union([z.string(), z.array(z.union([z.string(), z.record(z.string(), z.unknown())]))]),
  aggregate_metric_list: z
    .preprocess(
      (given) => (given === undefined || given === null ? [] : [given].flat()),
      z.array(
        z.strictObject({
          metric: z.string(),
          aggregation: z.literal("mean").default("mean"),
          weight_by_size: z.boolean().default(true),
          filter_list: z.preprocess(
            (given) => (typeof given === "string" ? [given] : (given ?? undefined)),
            z.array(z.string()).optional(),
          ),
        }),
      ),
    )
    .default([]),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  include: z.unknown().optional(),
  tag: z.unknown().optional(),
});

async function nodeOf(
  { fields, file }: Entry,
  entries: readonly Entry[],
  within: readonly string[],
): Promise<TaskNode> {
  if (fields.group === undefined) {
    const { include: _, ...own } = fields;
    const config = readTaskConfig(own, file);
    return { kind: "task", name: config.task, config };
  }
  const parsed = groupSchema.safeParse(fields);
  if (!parsed.success) {
    const [{ message, path }] = parsed.error.issues;
    throw new LayerfoldError("TASK_INVALID", `a group's field is wrong: ${message}`, {
      where: [file, path.join(".")].join(", "),
    });
  }
  const { group, group_alias, task, aggregate_metric_list, metadata } = parsed.data;
  if (within.includes(group)) {
    throw new LayerfoldError("TASK_INVALID", "a group holds itself", { got: group, where: file });
  }
  const inside = [...within, group];
  const children: TaskNode[] = [];
  for (const child of [task].flat()) {
    if (typeof child === "string") {
      const node = await byName(child, entries, inside);
      // A tag is no group of its own: its tasks are the group's.
      children.push(...(node.kind === "group" && node.version === "N/A" ? node.children : [node]));
    } else
      children.push(await nodeOf({ fields: await inlined(child, entries, file), file }, entries, inside));
  }
  return {
    kind: "group",
    name: group,
    alias: group_alias ?? group,
    children,
    metrics: aggregate_metric_list,
    version: String(metadata?.version ?? "0"),
  };
}

/** A task that stands in a group: with what it includes, or what it changes of one that is known. */
async function inlined(child: Fields, entries: readonly Entry[], file: string): Promise<Fields> {
  const whole = await withIncluded(child, file, []);
  if (child.group !== undefined || child.include !== undefined || child.doc_to_target !== undefined)
    return whole;
  const known = entries.find(({ fields }) => fields.group === undefined && fields.task === child.task);
  return { ...known?.fields, ...whole };
}

/** Every task file of a folder. @param lenient - leave out what cannot be read, which may be no task */
async function readFolder(path: string, lenient = false): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const name of (await readdir(path)).sort()) {
    const file = join(path, name);
    if (![".yaml", ".yml"].includes(extname(name))) continue;
    try {
      const [fields, inner] = await readFile(file);
      if (fields.task === undefined && fields.group === undefined) continue;
      entries.push({ fields, file }, ...inner);
    } catch (error) {
      if (!lenient || !isLayerfoldError(error)) throw error;
    }
  }
  return entries;
}

/** A file's fields with those that it includes, and the groups and tasks that stand in a group of it. */
async function readFile(file: string): Promise<readonly [Fields, readonly Entry[]]> {
  const fields = await withIncluded(await readYamlFields(file), file, [file]);
  return [fields, await innerEntries(fields, file)];
}

async function innerEntries(fields: Fields, file: string): Promise<Entry[]> {
  if (fields.group === undefined || !Array.isArray(fields.task)) return [];
  const entries: Entry[] = [];
  for (const child of fields.task) {
    if (typeof child !== "object" || child === null) continue;
    const whole = await withIncluded(child as Fields, file, []);
    entries.push({ fields: whole, file }, ...(await innerEntries(whole, file)));
  }
  return entries;
}

async function withIncluded(fields: Fields, file: string, seen: readonly string[]): Promise<Fields> {
  let included: Fields = {};
  for (const name of [fields.include ?? []].flat()) {
    const path = isAbsolute(String(name)) ? String(name) : join(dirname(file), String(name));
    if (seen.includes(path)) {
      throw new LayerfoldError("TASK_INVALID", "a task file includes itself", {
        got: String(name),
        where: file,
      });
    }
    included = { ...included, ...(await withIncluded(await readYamlFields(path), path, [...seen, path])) };
  }
  const { include: _, ...own } = fields;
  return { ...included, ...own };
}

async function readYamlFields(file: string): Promise<Fields> {
  const text = await readTextFile(file);
  const invalid = (message: string, cause?: unknown) =>
    new LayerfoldError("TASK_INVALID", `not a task file: ${message}`, { where: file, cause });
  // The harness's own reader follows YAML 1.1.
  const document = parseDocument(text, {
    version: "1.1",
    prettyErrors: false,
    // Its last value counts there.
    uniqueKeys: false,
    customTags: [{ tag: "!function", resolve: (name: string) => new PythonFunction(name) }],
  });
  const [problem] = document.errors;
  if (problem) throw invalid(problem.message, problem);
  let fields: unknown;
  try {
    fields = document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw invalid((cause as Error).message, cause);
  }
  if (typeof fields === "object" && fields !== null && !Array.isArray(fields)) return fields as Fields;
  throw invalid("wanted fields and their values");
}

/** All single tasks of a node, in order, each once. */
export function singleTasks(node: TaskNode): SingleTask[] {
  if (node.kind === "task") return [node];
  const tasks = new Map(node.children.flatMap(singleTasks).map((task) => [task.name, task]));
  return [...tasks.values()];
}

/** All groups of a node, those within others first. */
export function groupsOf(node: TaskNode): TaskGroup[] {
  if (node.kind === "task") return [];
  const groups = new Map([...node.children.flatMap(groupsOf), node].map((group) => [group.name, group]));
  return [...groups.values()];
}
