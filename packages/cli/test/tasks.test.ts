import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkpoint } from "@layerfold/foldling";
import { evaluateTasks } from "@layerfold/pipeline";
import { afterAll, expect, it } from "vitest";
import { json } from "./run-command.js";

const made = fileURLToPath(new URL("../../evaluate/test/golden/data", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "layerfold-tasks-"));
const at = (name: string) => join(scratch, name);
afterAll(() => rmSync(scratch, { recursive: true }));

/** The files of an evaluation by their names without dates. */
function written(out: string): Map<string, string> {
  const folder = at(`${out}/foldling`);
  const names = readdirSync(folder).filter((name) => !name.includes("manifest") && name !== ".eval_results");
  return new Map(
    names.map((name) => [
      name.replace(/_\d{4}-[\dT.-]+?(?=\.json)/, ""),
      readFileSync(join(folder, name), "utf8"),
    ]),
  );
}

it("eval --tasks writes the harness's files, and the hub's", async () => {
  const tasks = "piqa,mmlu_anatomy,arc_easy";
  const { result } = await json(
    ...["eval", checkpoint, "--tasks", tasks, "--data", made, "--limit", "3"],
    ...["--out", at("first"), "--log-samples"],
  );
  expect(result["n-samples"]).toEqual({
    piqa: { original: 4, effective: 3 },
    mmlu_anatomy: { original: 4, effective: 3 },
    arc_easy: { original: 4, effective: 3 },
  });
  expect(result["n-shot"]).toEqual({ arc_easy: 0, mmlu_anatomy: 5, piqa: 0 });
  const files = written("first");
  expect([...files.keys()].sort()).toEqual([
    "results.json",
    "samples_arc_easy.jsonl",
    "samples_mmlu_anatomy.jsonl",
    "samples_piqa.jsonl",
  ]);
  expect(JSON.parse(files.get("results.json")!).results).toEqual(result.results);
  const [sample] = files.get("samples_piqa.jsonl")!.split("\n");
  const { doc_id, resps, acc, metrics } = JSON.parse(sample);
  expect({ doc_id, metrics }).toEqual({ doc_id: 0, metrics: ["acc", "acc_norm"] });
  expect(resps).toHaveLength(2);
  expect([0, 1]).toContain(acc);
  expect(readFileSync(at("first/foldling/.eval_results/mmlu_anatomy.yaml"), "utf8")).toContain(
    "id: cais/mmlu",
  );
  // What is finished is in the files, and nowhere else.
  expect(readdirSync(scratch)).not.toContain("first.work");
}, 60_000);

it("an evaluation that was broken off goes on, and gives the same bytes", async () => {
  const file = at("rows/piqa.jsonl");
  mkdirSync(at("rows"));
  const row = (i: number) => ({
    goal: `Find ${i} apples`,
    sol1: "by the river",
    sol2: `at home ${i}`,
    label: i % 2,
  });
  writeFileSync(file, Array.from({ length: 140 }, (_, i) => `${JSON.stringify(row(i))}\n`).join(""));
  const request = { model: checkpoint, tasks: ["piqa"], data: at("rows"), logSamples: true };
  const stop = new AbortController();
  let told = 0;
  const report = (event: { type: string; done?: number }) => {
    if (event.type !== "progress") return;
    told = event.done ?? 0;
    // Behind the first of two shards.
    if (told > 256) stop.abort();
  };
  const broken = evaluateTasks({ ...request, out: at("broken") }, { signal: stop.signal, report });
  await expect(broken).rejects.toMatchObject({ code: "INTERRUPTED" });
  expect(readdirSync(scratch)).toContain("broken.work");
  let first: number | undefined;
  await evaluateTasks(
    { ...request, out: at("broken") },
    { report: (event) => event.type === "progress" && (first ??= event.done) },
  );
  expect(first).toBe(256);
  await evaluateTasks({ ...request, out: at("whole") });
  expect(written("broken")).toEqual(written("whole"));
}, 120_000);

it("what is wrong is told before a model is opened", async () => {
  const refused = async (...args: string[]) => (await json("eval", checkpoint, ...args)).error;
  expect(await refused("--tasks", "pika", "--data", made)).toMatchObject({
    code: "TASK_UNKNOWN",
    message: expect.stringContaining('Did you mean "piqa"?'),
  });
  expect(await refused("--tasks", "piqa")).toMatchObject({ code: "DATA_MISSING" });
  expect(await refused("--tasks", "piqa", "--data", scratch)).toMatchObject({
    code: "DATA_MISSING",
    wanted: expect.stringContaining("piqa/validation"),
  });
  expect(await refused("--tasks", "piqa", "--data", made, "--task", `piqa:${made}`)).toMatchObject({
    code: "OPTIONS_CONFLICT",
  });
  writeFileSync(at("mine.yaml"), "task: mine\nprocess_docs: !function utils.clean\ndoc_to_target: a\n");
  expect(await refused("--tasks", at("mine.yaml"), "--data", made)).toMatchObject({
    code: "TASK_FIELD_UNSUPPORTED",
    message: expect.stringContaining('"process_docs" is a Python function (utils.clean)'),
  });
  mkdirSync(at("odd"));
  writeFileSync(
    at("odd/piqa.jsonl"),
    '{"goal":"a","sol1":"b","sol2":"c","label":0}\n{"goal":"a","sol1":"b","label":0}\n',
  );
  expect(await refused("--tasks", "piqa", "--data", at("odd"))).toMatchObject({
    code: "TASK_ROW_INVALID",
    where: expect.stringContaining("piqa.jsonl, document 1"),
    message: expect.stringContaining('no column "sol2"'),
  });
}, 60_000);
