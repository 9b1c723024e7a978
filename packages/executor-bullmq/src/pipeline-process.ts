import { parseArgs } from "node:util";
import { openTaskWorker } from "@layerfold/pipeline";
import { serveTasks } from "./task-process.js";

// Makes what pipelines ask for; `workQueue` starts it.
const { values } = parseArgs({
  options: {
    memory: { type: "string" },
    tries: { type: "string" },
    plugin: { type: "string", multiple: true },
  },
});
const { memory, tries, plugin } = values;
serveTasks(
  openTaskWorker(
    { plugins: plugin, ...(tries !== undefined && { tries: Number(tries) }) },
    { ...(memory !== undefined && { memory: Number(memory) }) },
  ),
);
