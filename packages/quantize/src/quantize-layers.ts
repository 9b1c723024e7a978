import { type Checkpoint, quantizedModules } from "@layerfold/checkpoint";
import {
  type BlockSpec,
  type BlockView,
  type CalibrationStatistics,
  checkFinite,
  contiguousData,
  decodeFloats,
  encodeFloats,
  LayerfoldError,
  type Matrix,
  type ModelRunner,
  type QuantizedTensor,
  type Quantizer,
  type Role,
  type RunContext,
  type StatisticsKind,
  type Tap,
  type Tensor,
  type TokenBatch,
  tensor,
  throwIfAborted,
  type WeightTransform,
} from "@layerfold/core";
import { inputTap } from "./calibration.js";
import { CalibrationStream, type WantedStatistics } from "./calibration-stream.js";
import { canonicalBlock, linearRoles, storedBlock } from "./canonical-block.js";
import { dequantize } from "./dequantize.js";
import { resolveGroupSize } from "./grid.js";
import { modulePattern } from "./module-pattern.js";
import { readQuantizedModule } from "./quantized-modules.js";
import type { QuantizationScheme } from "./scheme.js";

/** Another quantizer, or none, for some modules. */
export interface ModuleOverride {
  /** Regular expression that is searched in module names such as `model.layers.0.mlp.down_proj`; of several that match, the first rules. */
  readonly match: string;
  /** Absent: the module stays as it is. */
  readonly quantizer?: Quantizer;
}

export interface QuantizeOptions {
  readonly scheme: QuantizationScheme;
  /** Token batches, opened once. Methods that need no statistics (rtn, fp8) run without. */
  readonly calibration?: (() => AsyncIterable<TokenBatch>) | undefined;
  readonly overrides?: readonly ModuleOverride[] | undefined;
  /** Largest |input| per channel by module name, in place of what calibration saw (SmoothQuant's act_scales). */
  readonly activationScales?: ReadonlyMap<string, Float64Array> | undefined;
  /**
   * A quantised checkpoint that the model was folded from. A linear map whose weight is still what its codes stand for (in the type in
   * which it is stored now) keeps its codes; only the others are quantised anew.
   */
  readonly reuse?:
    | {
        readonly checkpoint: Checkpoint;
        /** For each layer, the layer of `checkpoint` that it may have kept. */
        readonly layers: readonly number[];
      }
    | undefined;
  /** A layer as an earlier call with the same arguments gave it before it was broken off: it is given again, and nothing fitted. */
  readonly finished?: ((layer: number) => Promise<QuantizedLayer | undefined>) | undefined;
}

/** What became of one linear map. */
export interface QuantizationRecord {
  readonly layer: number;
  readonly module: string;
  readonly bits: number;
  readonly groupSize: number;
  /**
   * Σ over outputs of the mean squared change over calibration tokens, tr(ΔW·Gram·ΔWᵀ)/tokens; absent without calibration. Where the
   * quantizer needs no Gram matrix it is that of the inputs that the quantised block gives, over about 4,096 tokens.
   */
  readonly loss?: number;
  /** `loss` over the same with the weight itself in place of its change. */
  readonly relativeLoss?: number;
  readonly damping?: number;
  readonly seconds: number;
}

/** One quantised block. */
export interface QuantizedLayer {
  readonly layer: number;
  /** As it runs: transforms applied, quantised weights dequantised; laid out as the checkpoint stores it. */
  readonly block: BlockView;
  readonly quantized: ReadonlyMap<Role, QuantizedTensor>;
  readonly records: readonly QuantizationRecord[];
  /** Largest |input| per channel by module name, as the transforms were given it; empty without transforms or a calibration text. */
  readonly activationScales: ReadonlyMap<string, Float64Array>;
}

/**
 * Quantises a model block by block, front to back; each block is calibrated with what the already quantised blocks before it give.
 * In memory at a time: one block, the Gram matrices that its quantizers need (8·in² bytes each), the residual stream of the calibration
 * tokens (4·tokens·hidden bytes) and up to 1 GiB of the block's inner values.
 *
 * @param runner - of the same checkpoint; needed with a calibration text only
 * @throws CALIBRATION_EMPTY, GROUP_SIZE_INVALID (before anything is computed, naming the module), WEIGHT_NOT_FINITE (naming tensor and
 * index, whatever the quantizer), and whatever the plug-ins throw:
 * STATISTICS_MISSING where one needs a calibration text and there is none
 */
export async function* quantizeLayers(
  checkpoint: Checkpoint,
  runner: ModelRunner | undefined,
  options: QuantizeOptions,
  ctx: RunContext,
): AsyncIterable<QuantizedLayer> {
  const { calibration } = options;
  const { blocks } = checkpoint.architecture;
  const plans = blocks.map((spec) => chooseQuantizers(spec, options));
  const reuse = options.reuse && {
    ...options.reuse,
    modules: new Set(quantizedModules(options.reuse.checkpoint)),
  };
  const stream = calibration && runner ? await CalibrationStream.open(runner, calibration(), ctx) : undefined;
  for (const [layer, spec] of blocks.entries()) {
    throwIfAborted(ctx.signal);
    ctx.report?.({ type: "progress", stage: "quantize", done: layer, total: blocks.length, unit: "layers" });
    const finished = await options.finished?.(layer);
    if (finished) {
      await stream?.advance(layer, finished.block, new Map(), ctx);
      yield finished;
      continue;
    }
    yield await new BlockWork(checkpoint, spec, layer, stream, ctx).quantize(plans[layer], options, reuse);
  }
  ctx.report?.({
    type: "progress",
    stage: "quantize",
    done: blocks.length,
    total: blocks.length,
    unit: "layers",
  });
}

/**
 * Refuses what `quantizeLayers` would refuse, before anything is read.
 * @throws GROUP_SIZE_INVALID naming the module, STATISTICS_MISSING where the scheme looks at a text and there is none
 */
export function checkQuantizable(
  checkpoint: Pick<Checkpoint, "architecture">,
  options: Pick<QuantizeOptions, "scheme" | "overrides"> & { readonly calibrated: boolean },
): void {
  const { scheme, calibrated } = options;
  for (const spec of checkpoint.architecture.blocks) chooseQuantizers(spec, options);
  if (calibrated) return;
  const others = (options.overrides ?? []).flatMap(({ quantizer }) => quantizer ?? []);
  const needing = [...scheme.transforms, scheme.quantizer, ...others].find(
    ({ needs = [] }) => needs.length > 0,
  );
  if (needing) {
    const who = others.some((other) => other === needing)
      ? `the quantizer ${needing.id}`
      : `the scheme ${scheme.name}`;
    throw new LayerfoldError("STATISTICS_MISSING", `${who} needs a calibration text`, {
      wanted: "a calibration text",
    });
  }
}

/** Which linear maps of a block are quantised, by what. */
function chooseQuantizers(
  spec: BlockSpec,
  { scheme, overrides = [] }: Pick<QuantizeOptions, "scheme" | "overrides">,
): ReadonlyMap<Role, Quantizer> {
  const quantizers = new Map<Role, Quantizer>();
  const rules = overrides.map(({ match, quantizer }) => ({
    quantizer,
    matches: modulePattern(match, "OPTION_INVALID", "an override of modules"),
  }));
  for (const role of linearRoles(spec)) {
    const module = moduleName(spec, role);
    const rule = rules.find(({ matches }) => matches(module));
    const quantizer = rule ? rule.quantizer : scheme.quantizer;
    if (!quantizer) continue;
    const shape = spec.shapes.get(role) as readonly number[];
    const { groupSize } = quantizer;
    if (groupSize !== undefined) {
      resolveGroupSize(spec.linearLayout === "out-in" ? shape[1] : shape[0], groupSize, module);
    }
    quantizers.set(role, quantizer);
  }
  return quantizers;
}

/** `model.layers.0.mlp.down_proj` of `model.layers.0.mlp.down_proj.weight`. */
export function moduleName(spec: BlockSpec, role: Role): string {
  return (spec.tensors.get(role) as string).replace(/\.weight$/, "");
}

/** Codes that may be reused, and the modules that have any. */
interface Reuse extends NonNullable<QuantizeOptions["reuse"]> {
  readonly modules: ReadonlySet<string>;
}

/** One block's way through transforms and quantizers. */
class BlockWork {
  private readonly checkpoint: Checkpoint;
  private readonly spec: BlockSpec;
  private readonly layer: number;
  private readonly stream: CalibrationStream | undefined;
  private readonly ctx: RunContext;

  constructor(
    checkpoint: Checkpoint,
    spec: BlockSpec,
    layer: number,
    stream: CalibrationStream | undefined,
    ctx: RunContext,
  ) {
    this.checkpoint = checkpoint;
    this.spec = spec;
    this.layer = layer;
    this.stream = stream;
    this.ctx = ctx;
  }

  async quantize(
    quantizers: ReadonlyMap<Role, Quantizer>,
    { scheme, activationScales }: QuantizeOptions,
    reuse: Reuse | undefined,
  ): Promise<QuantizedLayer> {
    const { spec, layer, ctx } = this;
    const roles = linearRoles(spec);
    const usedScales = new Map<string, Float64Array>();
    const stored = await this.checkpoint.block(layer);
    for (const [role, weight] of stored.tensors) checkFinite(weight, spec.tensors.get(role));
    let block = canonicalBlock(stored, spec);
    if (scheme.transforms.length > 0) {
      const statistics = await this.statistics(block, transformNeeds(roles, scheme.transforms), false);
      const known = this.withActivationScales(statistics, activationScales);
      for (const [role, { absoluteMaximum }] of known) {
        if (absoluteMaximum) usedScales.set(moduleName(spec, role), absoluteMaximum);
      }
      for (const transform of scheme.transforms) block = await transform.fit(block, known, ctx);
      block = this.asStored(block);
    }
    const quantized = new Map<Role, QuantizedTensor>();
    const changes: Change[] = [];
    const chosen = roles.filter((role) => quantizers.has(role));
    for (const stage of scheme.trueSequential ? stages(chosen) : [chosen]) {
      const needs = new Map<Role, ReadonlySet<StatisticsKind>>();
      for (const role of stage) needs.set(role, new Set(quantizers.get(role)?.needs));
      const statistics = await this.statistics(block, needs, scheme.trueSequential);
      const tensors = new Map(block.tensors);
      for (const role of stage) {
        throwIfAborted(ctx.signal);
        const start = performance.now();
        const weight = block.tensors.get(role) as Matrix;
        const known = statistics.get(role) ?? { tokenCount: 0 };
        const result =
          (reuse && (await this.unchanged(role, weight, reuse))) ??
          (await (quantizers.get(role) as Quantizer).quantize(weight, known, ctx));
        const approximation = dequantize(result);
        quantized.set(role, result);
        tensors.set(role, approximation);
        changes.push({
          role,
          weight,
          approximation,
          loss: await outputLoss(weight, approximation, known, ctx),
          seconds: (performance.now() - start) / 1000,
        });
      }
      block = { ...block, tensors };
    }
    const done = storedBlock(block, spec);
    const losses = await this.advance(done, changes);
    const records = changes.map(({ role, seconds }): QuantizationRecord => {
      const { bits, groupSize, damping } = quantized.get(role) as QuantizedTensor;
      return {
        layer,
        module: moduleName(spec, role),
        bits,
        groupSize,
        ...losses.get(role),
        ...(damping !== undefined && { damping }),
        seconds,
      };
    });
    return { layer, block: done, quantized, records, activationScales: usedScales };
  }

  /** Moves the calibration stream behind the quantised block, and measures what no statistics told yet. */
  private async advance(
    block: BlockView,
    changes: readonly Change[],
  ): Promise<ReadonlyMap<Role, OutputLoss | undefined>> {
    const losses = new Map(changes.map(({ role, loss }) => [role, loss]));
    if (!this.stream) return losses;
    const unmeasured = changes.filter(({ loss }) => !loss);
    const gram = new Set<StatisticsKind>(["gram"]);
    const wanted = wantedStatistics(unmeasured.map(({ role, weight }) => [role, weight.shape[1], gram]));
    const statistics = await this.stream.advance(this.layer, block, wanted, this.ctx);
    for (const { role, weight, approximation } of unmeasured) {
      const known = statistics.get(inputTap(role)) as CalibrationStatistics;
      losses.set(role, await outputLoss(weight, approximation, known, this.ctx));
    }
    return losses;
  }

  /** What the linear maps of these roles read when the model runs with `block` in its place. */
  private async statistics(
    block: BlockView,
    needs: ReadonlyMap<Role, ReadonlySet<StatisticsKind>>,
    settled: boolean,
  ): Promise<ReadonlyMap<Role, CalibrationStatistics>> {
    const result = new Map<Role, CalibrationStatistics>();
    const widthOf = (role: Role) => block.tensors.get(role)?.shape[1] as number;
    const wanted = wantedStatistics(Array.from(needs, ([role, kinds]) => [role, widthOf(role), kinds]));
    if (!this.stream || wanted.size === 0) return result;
    const stored = storedBlock(block, this.spec);
    const statistics = await this.stream.statistics(this.layer, stored, wanted, { settled }, this.ctx);
    for (const role of needs.keys()) {
      const known = statistics.get(inputTap(role));
      if (known) result.set(role, known);
    }
    return result;
  }

  /** The codes that the weight came from, if it has not changed since. */
  private async unchanged(
    role: Role,
    weight: Matrix,
    { checkpoint, layers, modules }: Reuse,
  ): Promise<QuantizedTensor | undefined> {
    const source = checkpoint.architecture.blocks[layers[this.layer]];
    const module = source?.tensors.has(role) ? moduleName(source, role) : undefined;
    if (!module || !modules.has(module)) return undefined;
    const codes = await readQuantizedModule(checkpoint, module, this.ctx.report);
    const before = this.rounded(role, contiguousData(dequantize(codes)));
    const now = contiguousData(weight);
    return before.length === now.length && before.every((value, i) => value === now[i]) ? codes : undefined;
  }

  private withActivationScales(
    statistics: ReadonlyMap<Role, CalibrationStatistics>,
    scales: ReadonlyMap<string, Float64Array> | undefined,
  ): ReadonlyMap<Role, CalibrationStatistics> {
    if (!scales) return statistics;
    return new Map(
      [...statistics].map(([role, known]) => {
        const absoluteMaximum = scales.get(moduleName(this.spec, role)) ?? known.absoluteMaximum;
        return [role, { ...known, ...(absoluteMaximum && { absoluteMaximum }) }];
      }),
    );
  }

  /** The block rounded to the types in which it will be stored, so that what is calibrated next is what a reader will see. */
  private asStored(canonical: BlockView): BlockView {
    const stored = storedBlock(canonical, this.spec);
    const tensors = new Map<Role, Tensor>();
    for (const [role, value] of stored.tensors) {
      tensors.set(role, tensor(this.rounded(role, contiguousData(value)), value.shape));
    }
    return canonicalBlock({ ...stored, tensors }, this.spec);
  }

  /** Values as the checkpoint's type for this role keeps them. */
  private rounded(role: Role, values: Float32Array | Float64Array): Float32Array {
    const dtype = this.checkpoint.tensors.get(this.spec.tensors.get(role) as string)?.dtype ?? "float32";
    return decodeFloats(encodeFloats(values, dtype), dtype);
  }
}

/** Linear maps that read the same value stand in one stage; stages in the order in which the block runs. */
function stages(roles: readonly Role[]): Role[][] {
  const byTap = new Map<Tap, Role[]>();
  for (const role of roles) {
    const tap = inputTap(role);
    byTap.set(tap, [...(byTap.get(tap) ?? []), role]);
  }
  return [...byTap.values()];
}

/** One linear map before and after. */
interface Change {
  readonly role: Role;
  readonly weight: Matrix;
  readonly approximation: Matrix<Float32Array>;
  /** Absent: nothing was known of the inputs when the map was quantised. */
  readonly loss: OutputLoss | undefined;
  readonly seconds: number;
}

type OutputLoss = Required<Pick<QuantizationRecord, "loss" | "relativeLoss">>;

/** What transforms need of the input of each role that they ask about, and its largest values, which are handed on. */
function transformNeeds(
  roles: readonly Role[],
  transforms: readonly WeightTransform[],
): ReadonlyMap<Role, ReadonlySet<StatisticsKind>> {
  const needs = new Map<Role, ReadonlySet<StatisticsKind>>();
  for (const role of roles) {
    const asking = transforms.filter(({ inputs }) => inputs?.includes(inputTap(role)) ?? true);
    const kinds = new Set(asking.flatMap((transform) => transform.needs ?? []));
    if (kinds.size > 0) needs.set(role, kinds.add("absoluteMaximum"));
  }
  return needs;
}

/** By input, all that any of its readers needs; inputs of which nothing is needed are left out. */
function wantedStatistics(
  readers: readonly (readonly [role: Role, width: number, kinds: ReadonlySet<StatisticsKind>])[],
): WantedStatistics {
  const wanted = new Map<Tap, { width: number; kinds: ReadonlySet<StatisticsKind> }>();
  for (const [role, width, kinds] of readers) {
    if (kinds.size === 0) continue;
    const tap = inputTap(role);
    wanted.set(tap, { width, kinds: new Set([...(wanted.get(tap)?.kinds ?? []), ...kinds]) });
  }
  return wanted;
}

/** Products in float32 of the mean Gram matrix, their sum in float64: the loss to six digits. */
async function outputLoss(
  weight: Matrix,
  approximation: Matrix<Float32Array>,
  { gram, tokenCount }: CalibrationStatistics,
  ctx: RunContext,
): Promise<OutputLoss | undefined> {
  if (!gram) return undefined;
  const sums = contiguousData(gram);
  const mean = tensor(new Float32Array(sums.length), gram.shape) as Matrix<Float32Array>;
  for (let i = 0; i < sums.length; i++) mean.data[i] = sums[i] / tokenCount;
  const energyOf = async (values: Float32Array) => {
    const { data } = await ctx.engine.matmul<Matrix<Float32Array>>(tensor(values, weight.shape), mean);
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i] * data[i];
    return sum;
  };
  const exact = contiguousData(weight);
  const rounded = contiguousData(approximation);
  const change = new Float32Array(rounded.length);
  for (let i = 0; i < change.length; i++) change[i] = exact[i] - rounded[i];
  const loss = await energyOf(change);
  const energy = await energyOf(exact instanceof Float32Array ? exact : Float32Array.from(exact));
  return { loss, relativeLoss: loss / energy };
}
