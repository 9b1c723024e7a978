import { defineTask, jsonCodec, type Stage, type Task } from "@layerfold/tasks";
import type { FlowJob } from "bullmq";
import { expect, it } from "vitest";
import { stageFlows } from "./stage-flows.js";
import { digestOf, jobId, placeOf } from "./task-job.js";

const task = defineTask({
  kind: "task",
  code: "1",
  codec: jsonCodec<number>(),
  run: async (_: { value: number }) => 0,
}) as (parameters: { value: number }, inputs?: Readonly<Record<string, Task>>) => Task;

const shared = task({ value: 0 });
const first = task({ value: 1 }, { shared });
const second = task({ value: 2 }, { shared });
const last = task({ value: 3 }, { first, second });
const stage: Stage = { id: "0123456789abcdef", tasks: [shared, first, second, last] };

const shape = ({ data, children = [] }: FlowJob): unknown => [data.rank, ...children.map(shape)];

it("makes trees of a stage, with every task once", () => {
  const trees = stageFlows(stage, "/store", new Set([0, 1, 2, 3]));
  expect(trees.map(shape)).toEqual([[3, [1, [0]], [2]]]);
  expect(trees[0].opts).toMatchObject({ priority: 4, jobId: jobId(last.digest, "/store") });
  // What is not queued holds nobody up.
  expect(stageFlows(stage, "/store", new Set([1, 2])).map(shape)).toEqual([[1], [2]]);
});

it("names jobs by digest and store, and refuses what no run has written", () => {
  const id = jobId(first.digest, "/store");
  expect(digestOf(id)).toBe(first.digest);
  expect(id).not.toBe(jobId(first.digest, "/other"));
  const data = { store: "/store", stage: stage.id, rank: 1, kind: "task" };
  expect(placeOf({ id, data })).toEqual({
    store: "/store",
    stage: stage.id,
    rank: 1,
    digest: first.digest,
  });
  for (const wrong of [{ stage: "../../etc" }, { rank: -1 }, { store: "" }, { code: "process.exit()" }]) {
    expect(placeOf({ id, data: { ...data, ...wrong } })).toBeUndefined();
  }
});
