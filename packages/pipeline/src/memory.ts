import { readFileSync } from "node:fs";
import { availableMemory as freeMemory } from "node:process";
import type { Checkpoint } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { chooseExecution, type Execution, memoryNeed } from "@layerfold/graph";
import type { Run } from "./run.js";

const units: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Reads a size such as 8GiB, 512 MiB, 6GB or a number of bytes. @throws MEMORY_INVALID */
export function parseMemory(given: string | number): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?\s*$/i.exec(`${given}`);
  const bytes = match ? Number(match[1]) * (units[match[2]?.toUpperCase() ?? "B"] ?? Number.NaN) : Number.NaN;
  if (bytes >= 1) return Math.floor(bytes);
  throw new LayerfoldError("MEMORY_INVALID", "cannot read this amount of memory", {
    wanted: "a number with a unit, e.g. 8GiB or 512MiB",
    got: `${given}`,
    where: "--memory",
  });
}

/** Bytes that this process may still use: what the machine has free, or what its control group lets it have. */
export function availableMemory(): number {
  return freeMemory() + cachedInGroup();
}

/** Files that were read count against a control group's limit, but give way: Linux takes them off of the machine's use, not of a group's. */
function cachedInGroup(): number {
  const limit = process.constrainedMemory();
  // Without a limit it is 0, or more than any machine has.
  if (limit === 0 || limit > 2 ** 62) return 0;
  const groups = readOr("/proc/self/cgroup");
  const unified = /^0::(.*)$/m.exec(groups)?.[1];
  const legacy = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1];
  const folder = legacy === undefined ? `/sys/fs/cgroup${unified ?? ""}` : `/sys/fs/cgroup/memory${legacy}`;
  const facts = readOr(`${folder}/memory.stat`);
  const cached = Number(/^(?:total_)?inactive_file (\d+)$/m.exec(facts)?.[1] ?? 0);
  return cached + Number(/^(?:total_)?active_file (\d+)$/m.exec(facts)?.[1] ?? 0);
}

function readOr(file: string, otherwise = ""): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return otherwise;
  }
}

/**
 * A run that knows how its model runs: as it was told, or as the memory allows. Says which, and what either way takes.
 * @param copies - models of that size that are open at once
 * @throws MEMORY_TOO_SMALL
 */
export function withExecution<R extends Run>(
  run: R,
  checkpoint: Checkpoint,
  copies = 1,
): R & { execution: Execution } {
  const one = memoryNeed(checkpoint);
  const need = { whole: copies * one.whole, blocks: one.blocks };
  const execution = run.execution ?? chooseExecution(need, run.memory);
  const names = { whole: "as one graph", blocks: "block by block" };
  const other = execution === "whole" ? "blocks" : "whole";
  run.ctx.report?.({
    type: "status",
    message: `the model runs ${names[execution]}: about ${gibibytes(need[execution])} of the ${gibibytes(run.memory)} that may be used (${names[other]} ${gibibytes(need[other])})`,
  });
  return { ...run, execution };
}

/** The error for what a model can do only where all of it fits: token by token, it would read every weight for each. */
export function needsWhole(checkpoint: Checkpoint, where: string): LayerfoldError {
  return new LayerfoldError("MEMORY_TOO_SMALL", "a model makes up text only where all of it fits in memory", {
    wanted: `about ${gibibytes(memoryNeed(checkpoint).whole)}`,
    where,
    fault: "environment",
  });
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
