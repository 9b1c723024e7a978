import { join } from "node:path";
import { openTokenizer } from "@layerfold/checkpoint";
import { openRunner } from "@layerfold/graph";
import {
  dequantizeCheckpoint,
  logCsv,
  type ModuleOverride,
  type QuantizedFormat,
  quantizeCheckpoint,
  schemeOf,
} from "@layerfold/quantize";
import { type Command, Option } from "commander";
import { type CommonOptions, command, integer } from "../command.js";
import { calibrationBatches, openModelCheckpoint, readSequences } from "../inputs.js";
import { writeWholeFile } from "../outputs.js";
import { createRun } from "../run.js";

interface QuantizeOptions extends CommonOptions {
  readonly scheme: string;
  readonly format?: QuantizedFormat;
  readonly calibration?: string;
  readonly window?: number;
  readonly maxTokens?: number;
  readonly keepDense?: readonly string[];
  readonly force?: boolean;
  readonly out: string;
}

export function quantizeCommand(signal: AbortSignal): Command {
  return command(
    "quantize",
    "Quantise a checkpoint's blocks: RTN, GPTQ, AWQ or SmoothQuant, in the files that GPTQ, AWQ and vLLM read.",
    "layerfold quantize models/foldling/checkpoint --scheme gptq-w4g128 --calibration models/foldling/data/calibration.jsonl --out foldling-w4",
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption(
      "--scheme <name>",
      "rtn-w4g128, gptq-w4g128, awq-w4g128, gptq-awq-w4g64, smoothquant-w8a8, fp8, …: method, bits, group size",
    )
    .addOption(
      new Option("--format <name>", "files to write (default: the method's own)").choices([
        "compressed-tensors",
        "gptq",
        "gptq_v2",
        "awq",
      ]),
    )
    .option("--calibration <file>", "text that the method looks at (rtn and fp8 need none)")
    .option("--window <tokens>", "longest token sequence (default: 512, or the model's context)", integer(2))
    .option(
      "--max-tokens <tokens>",
      "use only so many calibration tokens, spread evenly over the text",
      integer(2),
    )
    .option(
      "--keep-dense <regex>",
      "leave modules whose name matches as they are; may be given often",
      (value: string, before: string[] = []) => [...before, value],
    )
    .option("--force", "replace a folder that is not empty")
    .requiredOption("--out <folder>", "checkpoint to write; quantization-log.csv stands in it")
    .action(async (modelPath: string, options: QuantizeOptions) => {
      const run = createRun(options, signal);
      const checkpoint = await openModelCheckpoint(modelPath, run);
      const scheme = schemeOf(options.scheme, {
        dtype: checkpoint.dtype,
        format: options.format,
        set: {
          [options.scheme.split("-")[0]]: run.settings.of("quantizer"),
        },
      });
      run.settings.assertUsed();
      const runner = options.calibration ? await openRunner(checkpoint) : undefined;
      try {
        const text =
          options.calibration &&
          (await readSequences(
            options.calibration,
            checkpoint.architecture.maxPositionEmbeddings,
            await openTokenizer(checkpoint.directory),
            { ...options, spread: true },
            run,
          ));
        const overrides: ModuleOverride[] = (options.keepDense ?? []).map((match) => ({ match }));
        const { written, log } = await quantizeCheckpoint(
          checkpoint,
          runner,
          options.out,
          {
            scheme,
            overrides,
            calibration: text ? () => calibrationBatches(text) : undefined,
            force: options.force,
          },
          run.ctx,
        );
        await writeWholeFile(join(options.out, "quantization-log.csv"), logCsv(log));
        run.terminal.result(
          { scheme: scheme.name, format: scheme.format, ...written, log },
          `${log.length} linear maps as ${scheme.name} (${scheme.format}), ${(written.tensorBytes / 2 ** 20).toFixed(1)} MiB → ${options.out}`,
        );
      } finally {
        await runner?.close();
        await checkpoint.close();
      }
    });
}

export function dequantizeCommand(signal: AbortSignal): Command {
  return command(
    "dequantize",
    "Write a dense copy of a GPTQ, AWQ or compressed-tensors checkpoint, e.g. to fold it.",
    "layerfold dequantize model-gptq --out model-dense",
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .addOption(
      new Option(
        "--dtype <type>",
        "element type of the weights that were quantised (default: as the norms)",
      ).choices(["float32", "bfloat16", "float16"]),
    )
    .option("--force", "replace a folder that is not empty")
    .requiredOption("--out <folder>", "checkpoint to write")
    .action(
      async (
        modelPath: string,
        options: CommonOptions & { dtype?: "float32" | "bfloat16" | "float16"; force?: boolean; out: string },
      ) => {
        const run = createRun(options, signal);
        run.settings.assertUsed();
        const checkpoint = await openModelCheckpoint(modelPath, run);
        try {
          const written = await dequantizeCheckpoint(checkpoint, options.out, options, run.ctx);
          run.terminal.result(written, `${(written.tensorBytes / 2 ** 20).toFixed(1)} MiB → ${options.out}`);
        } finally {
          await checkpoint.close();
        }
      },
    );
}
