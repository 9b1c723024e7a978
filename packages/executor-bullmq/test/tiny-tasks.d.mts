import type * as tasks from "@layerfold/tasks";

export interface TinyParameters {
  readonly value: number;
  readonly log?: string;
  readonly milliseconds?: number;
}
export type TinyTask = (
  parameters: TinyParameters,
  inputs?: Readonly<Record<string, tasks.Task<number>>>,
) => tasks.Task<number>;
export function tinyTasks(
  given: Pick<typeof tasks, "defineTask" | "jsonCodec">,
): Readonly<Record<"constant" | "sum" | "busy" | "failing" | "deadly", TinyTask>>;
