import { LayerfoldError } from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import {
  checkOutputFiles,
  inputPaths,
  modelFact,
  openModelCheckpoint,
  type QuantizeRequest,
  quantize,
  quantizeInputs,
  writeManifest,
  writeOutputFiles,
} from "@layerfold/pipeline";
import { dequantizeCheckpoint, type QuantizedFormat, writeActivationScales } from "@layerfold/quantize";
import { type Command, InvalidArgumentError, Option } from "commander";
import { command, withDevice } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { type CalibrationFlags, withCalibration } from "./calibration-flags.js";

interface QuantizeOptions extends CommonOptions, CalibrationFlags {
  readonly scheme: string;
  readonly format?: QuantizedFormat;
  readonly keepDense?: readonly string[];
  readonly override?: readonly string[];
  readonly embeddingBits?: 4 | 8;
  readonly activationScales?: string;
  readonly writeActivationScales?: string;
  readonly reuse?: string;
  readonly plan?: string;
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
    withDevice(
      command(
        "quantize",
        "Quantise a checkpoint's blocks: RTN, GPTQ, AWQ or SmoothQuant, in the files that GPTQ, AWQ and vLLM read.",
        "layerfold quantize models/foldling/checkpoint --scheme gptq-w4g128 --calibration models/foldling/data/calibration.jsonl --out foldling-w4",
      ),
    ),
    "text that the method looks at (rtn and fp8 need none)",
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption(
      "--scheme <name>",
      "rtn-w4g128, gptq-w4g128, awq-w4g128, gptq-awq-w4g64, smoothquant-w8a8, fp8, …: method, bits, group size; or a path to a module",
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
    .option(
      "--reuse <model>",
      "quantised checkpoint that MODEL was folded from: what the fold left alone keeps its codes",
    )
    .option(
      "--override <regex=scheme>",
      "another scheme's bits, groups and rounding for modules whose name matches; may be given often, the first match rules",
      (value: string, before: string[] = []) => [...before, value],
    )
    .option("--plan <file>", "of --reuse: the plan of the fold (default: no layer was removed)")
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption("--out <folder>", "checkpoint to write; quantization-log.csv stands in it")
    .option(
      "--store <location>",
      "where finished work is kept and found again, by this and by other commands: a folder, or s3://BUCKET/PREFIX (default: OUT.work)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .action(async (model: string, options: QuantizeOptions) => {
      const run = createCommandRun(options, signal);
      const { keepDense = [], override = [], writeActivationScales: scalesFile, ...others } = options;
      const { scheme, format, embeddingBits, activationScales, reuse, plan, force, out } = others;
      const { calibration, calibrationTokens, selfTemperature, window } = others;
      const request: QuantizeRequest = {
        ...{ model, scheme, format, embeddingBits, activationScales, reuse, plan, force, out },
        ...{ calibration, calibrationTokens, selfTemperature, window },
        overrides: [...keepDense.map((match) => ({ match })), ...override.map(parseOverride)],
      };
      if (scalesFile !== undefined) {
        await checkOutputFiles([scalesFile], { command: "quantize", inputs: quantizeInputs(request) });
      }
      const result = await quantize(request, run);
      if (scalesFile !== undefined) {
        const write = (file: string) => writeActivationScales(file, result.activationScales, signal);
        await writeOutputFiles(new Map([[scalesFile, write]]), result.manifest, run);
      }
      const { log, embeddingBytes, tensorBytes, parameterCount, directory, tasks } = result;
      const { name, format: files } = result.scheme;
      const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
      run.terminal.result(
        { scheme: name, format: files, directory, tensorBytes, parameterCount, embeddingBytes, log, tasks },
        `${log.length} linear maps as ${name} (${files}), ${mebibytes(tensorBytes)}, ` +
          `${mebibytes(embeddingBytes)} of them the embedding's → ${out}`,
      );
    });
}

function parseOverride(text: string): { match: string; scheme: string } {
  const at = text.lastIndexOf("=");
  if (at >= 1) return { match: text.slice(0, at), scheme: text.slice(at + 1) };
  throw new LayerfoldError("OPTION_INVALID", "cannot read this override", {
    wanted: "REGEX=SCHEME, e.g. down_proj=rtn-w8g64",
    got: text,
    where: "--override",
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
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption("--out <folder>", "checkpoint to write")
    .action(
      async (
        modelPath: string,
        options: CommonOptions & { dtype?: "float32" | "bfloat16" | "float16"; force?: boolean; out: string },
      ) => {
        const run = createCommandRun(options, signal);
        run.settings.assertUsed();
        const inputs = inputPaths({ models: [modelPath] });
        await checkOutputFolder(options.out, { force: options.force, inputs });
        const checkpoint = await openModelCheckpoint(modelPath, run, { packed: true });
        try {
          const written = await dequantizeCheckpoint(checkpoint, options.out, options, run.ctx);
          const model = await modelFact(modelPath, checkpoint);
          await writeManifest(options.out, { command: "dequantize", arguments: options, model }, run);
          run.terminal.result(written, `${(written.tensorBytes / 2 ** 20).toFixed(1)} MiB → ${options.out}`);
        } finally {
          await checkpoint.close();
        }
      },
    );
}
