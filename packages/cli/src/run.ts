import type { DeviceOptions } from "@layerfold/onnx";
import { createRun, type ExecutorChoice, type Run } from "@layerfold/pipeline";
import { createTerminal, type Terminal } from "./terminal.js";

/** The options that every command has, and those of all that run models. */
export interface CommonOptions extends DeviceOptions {
  readonly json?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly seed?: number | undefined;
  readonly set?: readonly string[] | undefined;
  /** Of those that keep finished work. */
  readonly store?: string | undefined;
  readonly keepWork?: boolean | undefined;
  /** Of those whose tasks workers can make. */
  readonly executor?: ExecutorChoice["executor"];
  readonly workers?: number | undefined;
  readonly queue?: string | undefined;
  /** Of those that run models. */
  readonly memory?: number | undefined;
}

/** One run of one command, and how it talks. */
export interface CommandRun extends Run {
  readonly terminal: Terminal;
}

export function createCommandRun(options: CommonOptions, signal?: AbortSignal): CommandRun {
  const terminal = createTerminal({ json: options.json ?? false, quiet: options.quiet ?? false });
  const { seed, set, store, keepWork, memory, device, allowFallback } = options;
  const { executor, workers, queue } = options;
  const given = { seed, set, store, keepWork, memory, device, allowFallback, executor, workers, queue };
  return { ...createRun({ ...given, signal, report: terminal.report }), terminal };
}
