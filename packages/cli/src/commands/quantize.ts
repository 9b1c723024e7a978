import { openTokenizer } from "@layerfold/checkpoint";
import {
  dequantizeCheckpoint,
  type QuantizedFormat,
  readActivationScales,
  writeActivationScales,
} from "@layerfold/quantize";
import { type Command, InvalidArgumentError, Option } from "commander";
import { readCalibration } from "../calibration.js";
import { type CommonOptions, command } from "../command.js";
import { openModelCheckpoint } from "../inputs.js";
import { makeScheme, quantizeModel } from "../quantize-model.js";
import { createRun } from "../run.js";
import { type CalibrationFlags, withCalibration } from "./calibration-flags.js";

interface QuantizeOptions extends CommonOptions, CalibrationFlags {
  readonly scheme: string;
  readonly format?: QuantizedFormat;
  readonly keepDense?: readonly string[];
  readonly embeddingBits?: 4 | 8;
  readonly activationScales?: string;
  readonly writeActivationScales?: string;
  readonly force?: boolean;
  readonly out: string;
}

/** Parses `--embedding-bits`. */
export function embeddingBits(text: string): 4 | 8 {
  if (text === "4" || text === "8") return Number(text) as 4 | 8;
  throw new InvalidArgumentError("wanted 4 or 8.");
}

export function quantizeCommand(signal: AbortSignal): Command {
  return withCalibration(
    command(
      "quantize",
      "Quantise a checkpoint's blocks: RTN, GPTQ, AWQ or SmoothQuant, in the files that GPTQ, AWQ and vLLM read.",
      "layerfold quantize models/foldling/checkpoint --scheme gptq-w4g128 --calibration models/foldling/data/calibration.jsonl --out foldling-w4",
    ),
    "text that the method looks at (rtn and fp8 need none)",
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
    .option(
      "--keep-dense <regex>",
      "leave modules whose name matches as they are; may be given often",
      (value: string, before: string[] = []) => [...before, value],
    )
    .option(
      "--embedding-bits <bits>",
      "round the embedding too, and a head of its own, to 4 or 8 bits (compressed-tensors files only)",
      embeddingBits,
    )
    .option(
      "--activation-scales <file>",
      "safetensors of the largest |input| per channel by module, in place of what the calibration text shows",
    )
    .option("--write-activation-scales <file>", "write them, as the scheme's transforms saw them")
    .option("--force", "replace a folder that is not empty")
    .requiredOption("--out <folder>", "checkpoint to write; quantization-log.csv stands in it")
    .action(async (modelPath: string, options: QuantizeOptions) => {
      const run = createRun(options, signal);
      const checkpoint = await openModelCheckpoint(modelPath, run);
      const scheme = makeScheme(options.scheme, checkpoint, options.format, run);
      run.settings.assertUsed();
      try {
        const text =
          options.calibration &&
          (await readCalibration(
            options.calibration,
            { checkpoint, tokenizer: await openTokenizer(checkpoint.directory) },
            options,
            run,
          ));
        const scales = options.activationScales && (await readActivationScales(options.activationScales));
        const { written, log, embeddingBytes, activationScales } = await quantizeModel(
          checkpoint,
          { ...options, scheme, calibration: text || undefined, activationScales: scales || undefined },
          run,
        );
        if (options.writeActivationScales) {
          await writeActivationScales(options.writeActivationScales, activationScales, signal);
        }
        const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
        run.terminal.result(
          { scheme: scheme.name, format: scheme.format, ...written, embeddingBytes, log },
          `${log.length} linear maps as ${scheme.name} (${scheme.format}), ${mebibytes(written.tensorBytes)}, ` +
            `${mebibytes(embeddingBytes)} of them the embedding's → ${options.out}`,
        );
      } finally {
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
