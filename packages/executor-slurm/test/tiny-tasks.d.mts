import type { Json, Task, TaskInputs } from "@layerfold/tasks";

export function number(parameters: {
  value: number;
  seconds?: number;
  dies?: boolean;
  fails?: boolean;
}): Task<number>;
export function count(parameters: { to: number }): Task<number>;
export function sum(parameters: Record<string, Json>, inputs: TaskInputs): Task<number>;
