import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ReportEvent } from "@layerfold/core";
import { portableEngine } from "@layerfold/linalg";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createRun, type RunOptions } from "./run.js";
import { runTask, type TaskRunner } from "./task-runner.js";
import { givenValue } from "./tasks/given-text.js";
import { withTasks } from "./work-folder.js";

let root: string;
const at = (name: string) => join(root, name);
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "work-folder-"));
});
afterEach(() => rm(root, { recursive: true }));

function listening(options: RunOptions = {}) {
  const said: string[] = [];
  const report = (event: ReportEvent) =>
    said.push(event.type === "diagnostic" ? event.code : event.type === "status" ? event.message : "");
  return { said, run: createRun({ engine: portableEngine(), report, ...options }) };
}
const work = (tasks: TaskRunner) => runTask(tasks, givenValue("answer", 42));
const failing = async (tasks: TaskRunner) => {
  await work(tasks);
  throw new Error("no");
};

it("goes with success, and after an error stays for the same work, saying so", async () => {
  const { run, said } = listening();
  await expect(withTasks(at("out"), run, failing)).rejects.toThrow("no");
  expect(said).toEqual([expect.stringMatching(/out\.work \(1 tasks\); the same command goes on from there/)]);
  expect(await readdir(root)).toEqual(["out.work"]);
  const counts = await withTasks(at("out"), run, async (tasks) => {
    await work(tasks);
    return tasks.counts;
  });
  expect(counts).toEqual({ made: 0, found: 1 });
  expect(await readdir(root)).toEqual([]);
});

it("stays where that is asked for, and is shared under a name of one's own", async () => {
  await withTasks(at("out"), listening({ keepWork: true }).run, work);
  await withTasks(at("a"), listening({ store: at("shared") }).run, work);
  const { counts } = await withTasks(at("b"), listening({ store: at("shared") }).run, async (tasks) => {
    await work(tasks);
    return { counts: tasks.counts };
  });
  expect(counts).toEqual({ made: 0, found: 1 });
  expect((await readdir(root)).sort()).toEqual(["out.work", "shared"]);
});

it("where nothing was begun nothing is left, but a folder of one's own stays", async () => {
  const nothing = () => Promise.reject(new Error("at once"));
  await expect(withTasks(at("out"), listening().run, nothing)).rejects.toThrow("at once");
  expect(await readdir(root)).toEqual([]);
  await mkdir(at("mine"));
  await expect(withTasks(at("out"), listening({ store: at("mine") }).run, nothing)).rejects.toThrow(
    "at once",
  );
  expect(await readdir(root)).toEqual(["mine"]);
});

it("is not removed with what somebody else put into it", async () => {
  const { run, said } = listening();
  await withTasks(at("out"), run, async (tasks, folder) => {
    await work(tasks);
    await writeFile(join(folder, "letter.txt"), "dear");
  });
  expect(said).toEqual(["WORK_KEPT"]);
  expect(await readdir(at("out.work"))).toContain("letter.txt");
});

it("keeps nothing where nothing is written", async () => {
  let place = "";
  await withTasks(undefined, listening().run, async (tasks, folder) => {
    place = folder;
    await work(tasks);
  });
  await expect(readdir(place)).rejects.toMatchObject({ code: "ENOENT" });
});
