import { availableParallelism } from "node:os";
import { hubSettings, pullModel } from "@layerfold/checkpoint";
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
  /** The folder of a MODEL argument: itself, or for `hf:org/name` the hub's cache, where it is downloaded to if need be. */
  modelFolder(model: string): Promise<string>;
}

export function createRun(options: CommonOptions, signal?: AbortSignal): Run {
  const terminal = createTerminal({ json: options.json ?? false, quiet: options.quiet ?? false });
  const seed = options.seed ?? 0;
  const ctx: RunContext = {
    rng: seededRng(seed),
    engine: onnxEngine({ threads: availableParallelism() }),
    signal,
    report: terminal.report,
  };
  return {
    ctx,
    terminal,
    modelFolder: async (model) =>
      model.startsWith("hf:") ? pullModel(model.slice("hf:".length), hubSettings(process.env), ctx) : model,
    settings: parseSettings(options.set ?? []),
    seed,
  };
}
