import {
  type BlockView,
  contiguousData,
  dropPlan,
  type Hidden,
  isLayerfoldError,
  keptLayer,
  type LayerFacts,
  type MergePlan,
  type ModelRunner,
  parsePlan,
  type Repair,
  type RepairedBlock,
  type ReportEvent,
  type RunContext,
  type TokenBatch,
  tokenBatch,
} from "@layerfold/core";
import {
  type ConformanceCheck,
  ensure,
  ensureRefused,
  ensureReports,
  ensureStandsFor,
  ensureUntouched,
  equalValues,
  identityCheck,
  valuesOf,
} from "./conformance.js";
import { testContext } from "./test-context.js";
import { tinyLlama } from "./tiny-llama-runner.js";

export interface RepairCheckOptions {
  /** Whether the reported error is that of the stream itself; false where the folded model's stream is in other units. Default true. */
  readonly errorOfStream?: boolean;
  /** By what share a block's measured error may exceed the reported one; default 1e-3. */
  readonly tolerance?: number;
}

interface FitOptions {
  readonly model?: ModelRunner;
  readonly calibration?: readonly TokenBatch[];
  readonly finished?: (group: number) => Promise<BlockView | undefined>;
  readonly overrides?: Partial<RunContext>;
  readonly onBlock?: (block: RepairedBlock) => void;
}

const shape = { layerCount: 5, hiddenSize: 16, intermediateSize: 20, headCount: 4, keyValueHeadCount: 2 };

/**
 * The laws of a repair: every block once and in order, such as can stand in its place; the error behind each no larger than it reports; a model
 * left alone from which nothing was taken; inputs untouched; padding never read; the same calibration the same blocks; a run that was broken off
 * goes on from what it had finished and ends alike; work that is called off ends; no text refused.
 *
 * The model is a `tinyLlama` of 5 layers, the calibration 4 batches of random tokens of unlike lengths.
 *
 * @param make - makes the repair anew, with options under which a fit takes seconds at most
 *
 * @example
 * ```ts
 * for (const { name, run } of repairChecks(() => myRepair({ ridge: [1e-3] }))) it(name, run);
 * ```
 */
export function repairChecks(make: () => Repair, options: RepairCheckOptions = {}): ConformanceCheck[] {
  const { errorOfStream = true, tolerance = 1e-3 } = options;
  const { id } = make();
  const dense = tinyLlama(shape);
  const batches = randomBatches(shape.layerCount);
  /** Layers 1 and 2 into one, which keeps the first; layer 4 into the one before it. */
  const folding = dropPlan(shape.layerCount, [0, 1, 3]);
  const whole = dropPlan(shape.layerCount, [0, 1, 2, 3, 4]);
  const kept = (plan: MergePlan, group: number) =>
    keptLayer(plan.groups[group]) ?? plan.groups[group].layers[0];

  const fit = async (plan: MergePlan, how: FitOptions = {}): Promise<RepairedBlock[]> => {
    const { model = dense, calibration = batches, finished, overrides, onBlock } = how;
    const blocks: RepairedBlock[] = [];
    const opened = async function* () {
      yield* calibration;
    };
    const folded = (group: number) => model.block(kept(plan, group));
    const repaired = make().fit(model, plan, folded, opened, testContext(1, overrides), finished);
    for await (const block of repaired) {
      blocks.push(block);
      onBlock?.(block);
    }
    return blocks;
  };
  let first: Promise<RepairedBlock[]> | undefined;
  /** One run of the folding plan that all laws share: fits are what takes time. */
  const unbroken = () => {
    first ??= fit(folding);
    return first;
  };
  const ensureSame = (got: readonly RepairedBlock[], wanted: readonly RepairedBlock[], law: string) => {
    ensure(got.length === wanted.length, `${id}: ${law}: ${got.length} blocks instead of ${wanted.length}`);
    wanted.forEach(({ block, index }, i) => {
      for (const [role, values] of valuesOf(block)) {
        const other = got[i].block.tensors.get(role);
        ensure(
          other !== undefined && equalValues(contiguousData(other), values),
          `${id}: ${law}: ${role} of block ${index} differs`,
        );
      }
    });
  };

  return [
    identityCheck("repair", make),
    {
      name: "gives every block once and in order, such as can stand in its place",
      async run() {
        const blocks = await unbroken();
        ensure(
          blocks.map(({ index }) => index).join() === "0,1,2",
          `${id}: blocks ${blocks.map((b) => b.index)} came`,
        );
        for (const { block, index } of blocks) {
          ensureStandsFor(block, await dense.block(kept(folding, index)), `${id}: block ${index}`, false);
        }
      },
    },
    {
      name: "reports no smaller error than a block leaves",
      async run() {
        const blocks = await unbroken();
        for (const { index, error } of blocks) {
          if (!error) continue;
          ensure(
            error.before >= 0 && error.after >= 0 && Number.isFinite(error.before + error.after),
            `${id}: the error of block ${index} is ${error.before} before and ${error.after} after`,
          );
        }
        if (!errorOfStream) return;
        const left = await errorsLeft(dense, folding, blocks, batches);
        for (const { index, error } of blocks) {
          if (!error) continue;
          ensure(
            left[index] <= error.after * (1 + tolerance) + 1e-10,
            `${id}: block ${index} leaves an error of ${left[index]}, but ${error.after} is reported`,
          );
        }
      },
    },
    {
      name: "leaves a model alone from which nothing was taken",
      async run() {
        const blocks = await fit(whole);
        const left = await errorsLeft(dense, whole, blocks, batches);
        left.forEach(
          (error, index) => void ensure(error < 1e-8, `${id}: block ${index} leaves an error of ${error}`),
        );
      },
    },
    {
      name: "takes groups whose weights are the strategy's to choose",
      async run() {
        const plan = parsePlan({ ...folding, groups: folding.groups.map(({ layers }) => ({ layers })) });
        ensure((await fit(plan)).length === plan.groups.length, `${id}: blocks are missing`);
      },
    },
    {
      name: "leaves model, folded blocks and calibration untouched",
      async run() {
        const layers = await Promise.all(whole.groups.map((_, layer) => dense.block(layer)));
        const before = layers.map(valuesOf);
        const tokens = batches.map(({ inputIds, lengths }) => [inputIds.slice(), lengths.slice()]);
        await fit(folding);
        layers.forEach((block, layer) => void ensureUntouched(block, before[layer], `${id}: layer ${layer}`));
        batches.forEach(({ inputIds, lengths }, i) => {
          ensure(
            equalValues(inputIds, tokens[i][0]) && equalValues(lengths, tokens[i][1]),
            `${id}: tokens were changed`,
          );
        });
      },
    },
    {
      name: "reads no padding",
      async run() {
        const spoilt = tinyLlama({ ...shape, padding: 1e3 });
        ensureSame(
          await fit(folding, { model: spoilt }),
          await unbroken(),
          "other values at padded positions",
        );
      },
    },
    {
      name: "gives the same blocks for the same calibration",
      async run() {
        ensureSame(await fit(folding), await unbroken(), "a second call");
      },
    },
    {
      name: "goes on from what is finished, and ends alike",
      async run() {
        const wanted = await unbroken();
        for (const count of [2, wanted.length]) {
          const finished = async (group: number) => (group < count ? wanted[group].block : undefined);
          ensureSame(await fit(folding, { finished }), wanted, `with ${count} blocks finished`);
        }
      },
    },
    {
      name: "ends when the work is called off",
      async run() {
        const controller = new AbortController();
        let blocks = 0;
        const onBlock = () => {
          blocks++;
          controller.abort();
        };
        const run = fit(folding, { overrides: { signal: controller.signal }, onBlock });
        await run.then(
          () => ensure(false, `${id}: it went on to the end`),
          (error) =>
            ensure(
              isLayerfoldError(error) && error.fault === "interrupted",
              `${id}: called off, it fails with ${error}`,
            ),
        );
        ensure(blocks <= 2, `${id}: ${blocks - 1} blocks came after the work was called off`);
      },
    },
    {
      name: "refuses a calibration without tokens",
      run: () =>
        ensureRefused(`${id}: a calibration without tokens`, () => fit(folding, { calibration: [] })),
    },
    {
      name: "names a repair that merges nothing, and alternatives, only as far as they are such",
      async run() {
        const { merges = false, withoutMerging, alternatives = [], options } = make();
        ensure(
          merges || !withoutMerging,
          `${id}: it merges nothing, but names a repair for where nothing is merged`,
        );
        const other = withoutMerging?.();
        ensure(
          !other || (other.kind === "repair" && !other.merges),
          `${id}: what stands for it where nothing is merged, merges`,
        );
        for (const alternative of alternatives) {
          const unknown = Object.keys(alternative).filter((name) => !(name in options));
          ensure(unknown.length === 0, `${id}: an alternative sets ${unknown}, which it has not`);
        }
      },
    },
    {
      name: "says beforehand what it refuses, and not what it can do",
      async run() {
        const { refuses } = make();
        if (!refuses) return;
        for (const { layers } of [...folding.groups, ...whole.groups]) {
          const facts: LayerFacts[] = [];
          for (const layer of layers) {
            facts.push({ layer, spec: (await dense.block(layer)).spec!, normBiases: new Set() });
          }
          const reason = refuses(facts);
          ensure(reason === undefined, `${id}: it refuses layers ${layers}, which it can repair: ${reason}`);
        }
      },
    },
    {
      name: "reports progress within its total, and diagnostics by stable codes",
      async run() {
        const events: ReportEvent[] = [];
        await fit(folding, { overrides: { report: (event) => events.push(event) } });
        ensureReports(id, events);
      },
    },
  ];
}

/** Batches of random tokens, the rows of unlike lengths. */
function randomBatches(count: number): TokenBatch[] {
  const { rng } = testContext(3);
  return Array.from({ length: count - 1 }, () =>
    tokenBatch(
      Array.from({ length: 4 }, (_, row) => Int32Array.from({ length: 12 - 2 * row }, () => rng.integer(64))),
    ),
  );
}

/** Mean squared error of the folded model's stream behind every block against the dense model's behind its group. */
async function errorsLeft(
  model: ModelRunner,
  { groups }: MergePlan,
  blocks: readonly RepairedBlock[],
  batches: readonly TokenBatch[],
): Promise<number[]> {
  const squares = new Float64Array(groups.length);
  let values = 0;
  for (const batch of batches) {
    let target = await model.embed(batch);
    let stream = target;
    for (const [index, { layers }] of groups.entries()) {
      for (const layer of layers) target = (await model.runBlock(layer, target)).hidden;
      stream = (await model.runBlock(layers[0], stream, { replace: blocks[index].block })).hidden;
      squares[index] += squaredDifference(stream, target);
    }
    values += model.hiddenSize * batch.lengths.reduce((sum, length) => sum + length, 0);
  }
  return Array.from(squares, (square) => square / values);
}

function squaredDifference({ states, lengths }: Hidden, other: Hidden): number {
  const [, sequence, width] = states.shape;
  const [a, b] = [contiguousData(states), contiguousData(other.states)];
  let sum = 0;
  lengths.forEach((length, row) => {
    const start = row * sequence * width;
    for (let i = start; i < start + length * width; i++) sum += (a[i] - b[i]) ** 2;
  });
  return sum;
}
