import { parseOptions, z } from "@layerfold/core";

/** `--set` reads what looks like a number as one. */
const text = z.union([z.string().min(1), z.number()]).transform((value) => `${value}`);
const lines = z.union([z.array(z.string()), z.string().transform((line) => [line])]);

const schema = z.strictObject({
  partition: text.optional().describe("partition of the jobs (default: the cluster's)"),
  account: text.optional().describe("account that they are charged to (default: the user's)"),
  time: text
    .optional()
    .describe(
      "time limit of one task as sbatch has it, e.g. 30 (minutes), 4:00:00 or 1-0 (default: the partition's)",
    ),
  memory: z
    .union([
      z.int().positive().transform(String),
      z.string().regex(/^[1-9]\d*[KMGT]?$/, "wanted sbatch's way of saying memory, e.g. 16G"),
    ])
    .optional()
    .describe(
      "memory of one task as sbatch has it, e.g. 16G; nine tenths of it are for the work (default: the cluster's)",
    ),
  cpus: z.int().min(1).default(1).describe("cores of one task, and threads that it uses"),
  setup: lines.default([]).describe("shell lines before the worker, e.g. module load nodejs"),
  requeues: z
    .int()
    .min(0)
    .default(10)
    .describe(
      "times that a task which meets its time limit goes back into the queue, and on from where it was; 0: never",
    ),
  warning: z
    .int()
    .min(1)
    .max(65535)
    .default(60)
    .describe("seconds before the time limit at which it ends its unit of work and goes back"),
  arguments: lines.default([]).describe('further arguments of sbatch, e.g. ["--qos=low", "--gres=gpu:1"]'),
  logs: z
    .string()
    .min(1)
    .optional()
    .describe("folder of the jobs' logs (default: logs in the store, where that is a folder)"),
  poll: z.number().positive().default(5).describe("seconds between two looks at the queue"),
});

/** How tasks are handed to the cluster: `--set executor.NAME=VALUE`. */
export type SlurmOptions = z.output<typeof schema>;

/** @throws OPTION_UNKNOWN, OPTION_INVALID */
export function slurmOptions(given: unknown): SlurmOptions {
  return parseOptions(schema, given, "--set executor");
}

/** Bytes that a worker may plan with; undefined where the cluster alone knows. */
export function workBytes({ memory }: Pick<SlurmOptions, "memory">): number | undefined {
  if (memory === undefined) return undefined;
  // Without a unit it is megabytes.
  const unit = /[KMGT]$/.exec(memory)?.[0] ?? "M";
  const power = { K: 10, M: 20, G: 30, T: 40 }[unit]!;
  return Math.floor(Number.parseInt(memory, 10) * 2 ** power * 0.9);
}
