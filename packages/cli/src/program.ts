import { version } from "@layerfold/pipeline";
import { Command } from "commander";
import { ablateCommand } from "./commands/ablate.js";
import { captureCommand } from "./commands/capture.js";
import { cleanCommand } from "./commands/clean.js";
import { compareCommand } from "./commands/compare.js";
import { compressCommand } from "./commands/compress.js";
import { demoCommand } from "./commands/demo.js";
import { evalCommand } from "./commands/eval.js";
import { exportCommand } from "./commands/export.js";
import { generateCommand } from "./commands/generate.js";
import { importCommand } from "./commands/import.js";
import { inspectCommand } from "./commands/inspect.js";
import { mergeCommand } from "./commands/merge.js";
import { planCommand } from "./commands/plan.js";
import { pullCommand } from "./commands/pull.js";
import { dequantizeCommand, quantizeCommand } from "./commands/quantize.js";
import { initCommand, recipeCommand, validateCommand } from "./commands/recipe.js";
import { similarityCommand } from "./commands/similarity.js";
import { statusCommand } from "./commands/status.js";
import { traceCommand } from "./commands/trace.js";
import { workCommand } from "./commands/work.js";

/** The whole command line; `signal` interrupts whatever runs. */
export function createProgram(signal: AbortSignal): Command {
  const program = new Command("layerfold")
    .description("Makes decoder-only language models shallower, and says honestly what that cost.")
    .version(version)
    .showHelpAfterError("(add --help for the options and an example)");
  for (const create of [
    demoCommand,
    compressCommand,
    inspectCommand,
    traceCommand,
    captureCommand,
    similarityCommand,
    planCommand,
    mergeCommand,
    evalCommand,
    compareCommand,
    ablateCommand,
    recipeCommand,
    validateCommand,
    initCommand,
    generateCommand,
    quantizeCommand,
    dequantizeCommand,
    exportCommand,
    importCommand,
    pullCommand,
    cleanCommand,
    workCommand,
    statusCommand,
  ]) {
    program.addCommand(create(signal));
  }
  for (const each of [program, ...program.commands]) each.exitOverride();
  return program;
}
