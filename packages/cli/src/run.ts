import { availableParallelism } from "node:os";
import type { RunContext } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { parseSettings, type Settings } from "./settings.js";
import { createTerminal, type Terminal } from "./terminal.js";

/** The options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly seed?: number;
  readonly set?: readonly string[];
}

/** One run of one command: what the plug-ins are handed, and how it talks. */
export interface Run {
  readonly ctx: RunContext;
  readonly terminal: Terminal;
  readonly settings: Settings;
  readonly seed: number;
}

export function createRun(options: CommonOptions, signal?: AbortSignal): Run {
  const terminal = createTerminal({ json: options.json ?? false, quiet: options.quiet ?? false });
  const seed = options.seed ?? 0;
  return {
    ctx: {
      rng: seededRng(seed),
      engine: onnxEngine({ threads: availableParallelism() }),
      signal,
      report: terminal.report,
    },
    terminal,
    settings: parseSettings(options.set ?? []),
    seed,
  };
}
