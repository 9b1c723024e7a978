import { join } from "node:path";
import { type Checkpoint, openTokenizer } from "@layerfold/checkpoint";
import { keptLayer, LayerfoldError, type MergePlan } from "@layerfold/core";
import {
  checkQuantizable,
  type ModuleOverride,
  type QuantizationScheme,
  type QuantizedFormat,
  readActivationScales,
} from "@layerfold/quantize";
import { type CalibrationOptions, readCalibration } from "../calibration/read-calibration.js";
import { checkSpace, expectedBytes } from "../disk-space.js";
import { openModelCheckpoint } from "../inputs/open-model.js";
import { makeScheme } from "../make-scheme.js";
import { dataFact, type Manifest, manifestOf, modelFact } from "../manifest.js";
import { inputPaths, writeJson } from "../outputs.js";
import { optionalReference } from "../plugin-reference.js";
import { pluginFacts } from "../registry.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import { runTask, type TaskCounts } from "../task-runner.js";
import { givenText } from "../tasks/given-text.js";
import { quantizeTask, type StoredQuantization } from "../tasks/quantize.js";
import { schemeReference } from "../tasks/scheme-reference.js";
import { withTasks } from "../work-folder.js";
import { givenFact, givenFile, modelOf } from "./given-inputs.js";
import { calibratedModel } from "./open-workbench.js";
import { readPlan } from "./plan-file.js";
import { checkResultFolder, copyTree, putResult } from "./put-result.js";

export interface QuantizeRequest extends CalibrationOptions {
  /** Checkpoint folder, or `hf:org/name`. */
  readonly model: string;
  /** As `makeScheme` reads it, e.g. `gptq-w4g128`, or a path to a quantizer of one's own. */
  readonly scheme: string;
  readonly format?: QuantizedFormat | undefined;
  readonly calibration?: string | undefined;
  /** Modules whose name matches stay dense, or get another scheme; the first that matches rules. */
  readonly overrides?: readonly { readonly match: string; readonly scheme?: string }[] | undefined;
  readonly embeddingBits?: 4 | 8 | undefined;
  /** File with the largest |input| of each channel, in the stead of what the text shows. */
  readonly activationScales?: string | undefined;
  /** Quantised checkpoint that the model was folded from: what the fold left alone keeps its codes. */
  readonly reuse?: string | undefined;
  /** Of `reuse`: the plan of the fold, or its file; absent: no layer was removed. */
  readonly plan?: MergePlan | string | undefined;
  readonly out: string;
  readonly force?: boolean | undefined;
}

export interface QuantizeResult extends StoredQuantization {
  readonly scheme: QuantizationScheme;
  /** Tasks that were made, and those that an earlier run or another process had done. */
  readonly tasks: TaskCounts;
  /** For the manifests of what is written beside. */
  readonly manifest: Manifest;
}

/**
 * Quantises a model's blocks into the files that GPTQ, AWQ and vLLM read.
 * @throws what reading the model and the texts throws, SCHEME_UNKNOWN, SCHEME_FORMAT, OPTION_INVALID, and what `quantizeCheckpoint` throws
 */
export async function quantize(
  request: QuantizeRequest,
  given: RunOptions | Run = {},
): Promise<QuantizeResult> {
  const run = asRun(given);
  const { out, force, calibration: texts, overrides = [] } = request;
  if (request.plan !== undefined && request.reuse === undefined) {
    throw new LayerfoldError("OPTION_INVALID", "a plan says which codes of another checkpoint are reused", {
      wanted: "--reuse MODEL",
      where: "--plan",
    });
  }
  const planFile = typeof request.plan === "string" ? request.plan : undefined;
  await checkResultFolder(out, { force, inputs: quantizeInputs(request) }, run);
  const checkpoint = await openModelCheckpoint(request.model, run, { packed: true });
  let origin: Checkpoint | undefined;
  try {
    const scheme = await makeScheme(request.scheme, checkpoint, request.format, run);
    const made: ModuleOverride[] = [];
    for (const { match, scheme: other } of overrides) {
      const found = other === undefined ? undefined : await makeScheme(other, checkpoint, scheme.format, run);
      made.push({ match, ...(found && { quantizer: found.quantizer }) });
    }
    run.settings.assertUsed();
    checkQuantizable(checkpoint, { scheme, overrides: made, calibrated: texts !== undefined });
    if (request.reuse !== undefined) origin = await openModelCheckpoint(request.reuse, run, { packed: true });
    const reused = origin && (await keptLayers(checkpoint, request.plan));
    return await withTasks(out, run, async (tasks, folder) => {
      const { length: layers } = checkpoint.architecture.blocks;
      await checkSpace(
        tasks,
        { folder, out },
        { kept: [expectedBytes(checkpoint).quantized(layers, scheme)] },
      );
      const model = await modelOf(checkpoint, run);
      const calibration =
        texts === undefined
          ? undefined
          : await readCalibration(
              texts,
              calibratedModel(
                { checkpoint, tokenizer: await openTokenizer(checkpoint.directory), model },
                tasks,
                run,
              ),
              request,
              run,
            );
      const { activationScales } = request;
      const scales =
        activationScales === undefined
          ? undefined
          : await givenFile(activationScales, () => readActivationScales(activationScales));
      const task = quantizeTask(
        {
          scheme: schemeReference(scheme),
          embedding_bits: request.embeddingBits ?? null,
          overrides: made.map(({ match, quantizer }) => ({ match, quantizer: optionalReference(quantizer) })),
          reused_layers: reused ?? null,
          seed: run.seed,
        },
        {
          model,
          text: calibration && givenText(calibration.sequences),
          reuse: origin && (await modelOf(origin, run)),
          scales,
        },
      );
      const quantized = await runTask(tasks, task);
      const { model: path, out: _, force: __, ...given } = request;
      const manifest = manifestOf(
        {
          command: "quantize",
          arguments: given,
          model: await modelFact(path, checkpoint),
          data: {
            ...(calibration && { calibration: calibration.facts }),
            ...(scales && { activationScales: givenFact(scales) }),
            ...(request.reuse && origin && { reuse: await modelFact(request.reuse, origin) }),
            ...(planFile && { plan: await dataFact(planFile) }),
          },
          plugins: pluginFacts(...scheme.transforms, scheme.quantizer),
        },
        run,
      );
      await putResult(out, { force, folder, store: tasks.store }, run, async (finished) => {
        await copyTree(quantized.directory, finished);
        await writeJson(join(finished, "manifest.json"), manifest);
      });
      return { ...quantized, directory: out, scheme, manifest, tasks: tasks.counts };
    });
  } finally {
    await origin?.close();
    await checkpoint.close();
  }
}

/** All that is read. */
export function quantizeInputs({
  model,
  reuse,
  calibration,
  activationScales,
  plan,
}: QuantizeRequest): string[] {
  const files = [activationScales, typeof plan === "string" ? plan : undefined];
  return inputPaths({ models: [model, reuse], texts: [calibration], files });
}

/** For each layer of a folded model, the layer of the whole one that it may have kept. */
async function keptLayers(folded: Checkpoint, given: MergePlan | string | undefined): Promise<number[]> {
  const { blocks } = folded.architecture;
  if (given === undefined) return blocks.map((_, layer) => layer);
  const { groups } = typeof given === "string" ? await readPlan(given) : given;
  if (groups.length !== blocks.length) {
    throw new LayerfoldError("PLAN_MISMATCH", "the plan makes another number of layers", {
      wanted: `${blocks.length}`,
      got: `${groups.length}`,
      where: typeof given === "string" ? given : "plan",
    });
  }
  return groups.map((group) => keptLayer(group) ?? group.layers[0]);
}
