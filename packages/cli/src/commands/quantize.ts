import { join } from "node:path";
import { type Checkpoint, openTokenizer } from "@layerfold/checkpoint";
import { keptLayer, LayerfoldError } from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import {
  dequantizeCheckpoint,
  type ModuleOverride,
  type QuantizedFormat,
  readActivationScales,
  writeActivationScales,
} from "@layerfold/quantize";
import { type Command, InvalidArgumentError, Option } from "commander";
import { calibrationSources, knownCalibration } from "../calibration.js";
import { type CommonOptions, command } from "../command.js";
import { openModelCheckpoint } from "../inputs.js";
import { dataFact, manifestOf, modelFact, writeManifest } from "../manifest.js";
import { checkOutputFiles, writeOutputFiles } from "../output-files.js";
import { inputPaths } from "../outputs.js";
import { readPlan } from "../plan-file.js";
import { makeScheme, quantizeModel } from "../quantize-model.js";
import { pluginFacts } from "../registry.js";
import { createRun } from "../run.js";
import { resumable } from "../unfinished.js";
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
    .action(async (modelPath: string, options: QuantizeOptions) => {
      const run = createRun(options, signal);
      if (options.plan && !options.reuse) {
        throw new LayerfoldError(
          "OPTION_INVALID",
          "a plan says which codes of another checkpoint are reused",
          {
            wanted: "--reuse MODEL",
            where: "--plan",
          },
        );
      }
      const inputs = inputPaths({
        models: [modelPath, options.reuse],
        texts: [options.calibration],
        files: [options.activationScales, options.plan],
      });
      await checkOutputFolder(options.out, { force: options.force, inputs });
      if (options.writeActivationScales) {
        await checkOutputFiles([options.writeActivationScales], { command: "quantize", inputs });
      }
      const checkpoint = await openModelCheckpoint(modelPath, run, { packed: true });
      let origin: Checkpoint | undefined;
      try {
        const scheme = makeScheme(options.scheme, checkpoint, options.format, run);
        const overrides: readonly ModuleOverride[] = [
          ...(options.keepDense ?? []).map((match) => ({ match })),
          ...(options.override ?? []).map((text) => {
            const at = text.lastIndexOf("=");
            if (at < 1) {
              throw new LayerfoldError("OPTION_INVALID", "cannot read this override", {
                wanted: "REGEX=SCHEME, e.g. down_proj=rtn-w8g64",
                got: text,
                where: "--override",
              });
            }
            const { quantizer } = makeScheme(text.slice(at + 1), checkpoint, scheme.format, run);
            return { match: text.slice(0, at), quantizer };
          }),
        ];
        run.settings.assertUsed();
        origin = options.reuse ? await openModelCheckpoint(options.reuse, run, { packed: true }) : undefined;
        const facts = {
          command: "quantize",
          arguments: options,
          model: await modelFact(modelPath, checkpoint),
          data: {
            ...(options.calibration && { calibration: await calibrationSources(options.calibration) }),
            ...(options.activationScales && { activationScales: await dataFact(options.activationScales) }),
            ...(options.reuse && origin && { reuse: await modelFact(options.reuse, origin) }),
            ...(options.plan && { plan: await dataFact(options.plan) }),
          },
          plugins: pluginFacts(...scheme.transforms, scheme.quantizer),
        };
        const { written, log, embeddingBytes, activationScales, calibration } = await resumable(
          // Rounding alone is done in no time.
          options.calibration && options.out,
          manifestOf(facts, run),
          async ({ folder, known }) => {
            const calibration = options.calibration
              ? await knownCalibration(
                  options.calibration,
                  { checkpoint, tokenizer: await openTokenizer(checkpoint.directory) },
                  options,
                  known,
                  run,
                )
              : undefined;
            const scales = options.activationScales && (await readActivationScales(options.activationScales));
            const quantized = await quantizeModel(
              checkpoint,
              {
                scheme,
                overrides,
                embeddingBits: options.embeddingBits,
                calibration,
                activationScales: scales || undefined,
                reuse: origin && {
                  checkpoint: origin,
                  layers: await keptLayers(checkpoint, options.plan),
                },
                out: options.out,
                force: options.force,
                unfinished: join(folder, "layers"),
              },
              run,
            );
            return { ...quantized, calibration: calibration?.facts };
          },
          run,
        );
        const told = { ...facts, data: { ...facts.data, ...(calibration && { calibration }) } };
        await writeManifest(options.out, told, run);
        if (options.writeActivationScales) {
          const write = (file: string) => writeActivationScales(file, activationScales, signal);
          await writeOutputFiles(new Map([[options.writeActivationScales, write]]), told, run);
        }
        const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
        run.terminal.result(
          { scheme: scheme.name, format: scheme.format, ...written, embeddingBytes, log },
          `${log.length} linear maps as ${scheme.name} (${scheme.format}), ${mebibytes(written.tensorBytes)}, ` +
            `${mebibytes(embeddingBytes)} of them the embedding's → ${options.out}`,
        );
      } finally {
        await origin?.close();
        await checkpoint.close();
      }
    });
}

/** For each layer of a folded model, the layer of the whole one that it may have kept. */
async function keptLayers(folded: Checkpoint, planFile: string | undefined): Promise<number[]> {
  const { blocks } = folded.architecture;
  if (planFile === undefined) return blocks.map((_, layer) => layer);
  const { groups } = await readPlan(planFile);
  if (groups.length !== blocks.length) {
    throw new LayerfoldError("PLAN_MISMATCH", "the plan makes another number of layers", {
      wanted: `${blocks.length}`,
      got: `${groups.length}`,
      where: planFile,
    });
  }
  return groups.map((group) => keptLayer(group) ?? group.layers[0]);
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
        const run = createRun(options, signal);
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
