import type { JobArray } from "./job-arrays.js";
import { type SlurmOptions, workBytes } from "./slurm-options.js";

export interface ScriptFacts {
  readonly stage: string;
  readonly array: Pick<JobArray, "offset">;
  /** The store's. */
  readonly location: string;
  /** Program and arguments of a worker. */
  readonly command: readonly string[];
  readonly options: Pick<SlurmOptions, "cpus" | "memory" | "setup" | "requeues">;
}

/**
 * What an element of a job array runs: the worker, for its rank. Told that its time is nearly up, it lets the worker end its unit of work and
 * goes back into the queue.
 */
export function jobScript({ stage, array, location, command, options }: ScriptFacts): string {
  const { cpus, setup, requeues } = options;
  const bytes = workBytes(options);
  const worker = [
    ...[...command, "--store", location, "--stage", stage].map(quoted),
    ...(bytes === undefined ? [] : ["--memory", `${bytes}`]),
    ...["--rank", '"$rank"'],
  ].join(" ");
  return `${[
    "#!/bin/bash",
    `rank=$((${array.offset} + SLURM_ARRAY_TASK_ID))`,
    `element="\${SLURM_ARRAY_JOB_ID}_\${SLURM_ARRAY_TASK_ID}"`,
    'warned=""',
    'trap \'warned="$warned!"; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null\' USR1',
    `echo "rank $rank of stage ${stage}: job $element on $(hostname), start $((1 + \${SLURM_RESTART_COUNT:-0}))"`,
    `export LAYERFOLD_THREADS=${cpus}`,
    ...setup,
    `${worker} &`,
    "worker=$!",
    // A warning ends the wait, not the worker.
    'while :; do before=$warned; wait "$worker"; code=$?; [ "$before" != "$warned" ] || break; done',
    'if [ -z "$warned" ] || [ "$code" -ne 0 ]; then exit "$code"; fi',
    `if [ "\${SLURM_RESTART_COUNT:-0}" -ge ${requeues} ]; then`,
    `  echo "the time limit was met after ${requeues} returns to the queue"`,
    "  exit 1",
    "fi",
    'echo "the time is nearly up: back into the queue"',
    'scontrol requeue "$element"',
  ].join("\n")}\n`;
}

/** A word of a shell, whatever is in it. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
