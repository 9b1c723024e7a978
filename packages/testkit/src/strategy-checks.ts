import {
  type BlockView,
  contiguousData,
  isLayerfoldError,
  type MergeStrategy,
  type ModelRunner,
  type Tensor,
  tensor,
  tokenBatch,
} from "@layerfold/core";
import {
  type ConformanceCheck,
  ensure,
  ensureStandsFor,
  ensureUntouched,
  equalValues,
  identityCheck,
  stridedCopy,
  valuesOf,
} from "./conformance.js";
import { testContext } from "./test-context.js";
import { tinyLlama } from "./tiny-llama-runner.js";

export interface StrategyCheckOptions {
  /** Whether weights of one 1 and 0 elsewhere give that block, as in a weighted mean; default false. */
  readonly followsWeights?: boolean;
  /** How far outputs may lie apart, beside the largest of them, where a law says that blocks do the same; default 1e-4. */
  readonly tolerance?: number;
}

/**
 * The laws of a merge strategy: a block that can stand for those that it was made of, inputs untouched, strides heeded, the same seed the same
 * block, each tensor by itself and the sums that its coefficients give (where it says so), equal layers merged into what does as they do, blocks of different shapes refused or one of them kept as it is, and (where promised)
 * weights of one 1 and 0 elsewhere giving that block.
 *
 * Blocks are those of `tinyLlama`; "does as they do" compares what they make of a stream, not their tensors.
 *
 * @param make - makes the strategy anew
 *
 * @example
 * ```ts
 * for (const { name, run } of strategyChecks(() => myStrategy())) it(name, run);
 * ```
 */
export function strategyChecks(
  make: () => MergeStrategy,
  options: StrategyCheckOptions = {},
): ConformanceCheck[] {
  const { followsWeights = false, tolerance = 1e-4 } = options;
  const { id } = make();
  const model = tinyLlama({
    layerCount: 3,
    hiddenSize: 16,
    intermediateSize: 24,
    headCount: 4,
    keyValueHeadCount: 2,
  });
  const blocksOf = () => Promise.all([0, 1, 2].map((layer) => model.block(layer)));
  const alike = (count: number) => new Array<number>(count).fill(1 / count);
  const merge = async (blocks: readonly BlockView[], weights = alike(blocks.length), seed = 1) =>
    make().merge(blocks, weights, testContext(seed));

  const ensureSame = async (got: BlockView, wanted: BlockView, law: string) => {
    const [a, b] = [await streamBehind(model, got), await streamBehind(model, wanted)];
    const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const apart = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
    ensure(
      apart <= tolerance * largest,
      `${id}: ${law}: outputs lie ${apart / largest} apart, relative to the largest`,
    );
  };

  const checks: ConformanceCheck[] = [
    identityCheck("strategy", make),
    {
      name: "keeps one of the blocks as it is if it says that it drops",
      async run() {
        const blocks = await blocksOf();
        const merged = await merge(blocks);
        const kept = blocks.some(({ tensors }) =>
          [...tensors].every(([role, value]) =>
            equalValues(contiguousData(value), contiguousData(merged.tensors.get(role) ?? value)),
          ),
        );
        ensure(kept || !make().drops, `${id}: it merges, but says that it drops`);
      },
    },
    {
      name: "makes a block that can stand for those that it was made of",
      async run() {
        const blocks = await blocksOf();
        for (const count of [2, 3]) {
          const merged = await merge(blocks.slice(0, count));
          ensureStandsFor(merged, blocks[0], `${id}: the merge of ${count} blocks`);
          ensure(merged.spec !== undefined, `${id}: the merged block lost its spec`);
        }
      },
    },
    {
      name: "leaves its inputs untouched",
      async run() {
        const blocks = await blocksOf();
        const before = blocks.map(valuesOf);
        const weights = [0.5, 0.3, 0.2];
        await merge(blocks, weights);
        blocks.forEach((block, i) => void ensureUntouched(block, before[i], `${id}: block ${i}`));
        ensure(weights.join() === "0.5,0.3,0.2", `${id}: the weights were changed`);
      },
    },
    {
      name: "reads strided tensors as it reads contiguous ones",
      async run() {
        const blocks = await blocksOf();
        const got = valuesOf(await merge(blocks.map(strided)));
        for (const [role, values] of valuesOf(await merge(blocks))) {
          ensure(equalValues(got.get(role)!, values), `${id}: ${role} of strided blocks differs`);
        }
      },
    },
    {
      name: "gives the same block for the same seed",
      async run() {
        const blocks = await blocksOf();
        const again = valuesOf(await merge(blocks, alike(3), 5));
        for (const [role, values] of valuesOf(await merge(blocks, alike(3), 5))) {
          ensure(equalValues(again.get(role)!, values), `${id}: the same seed gave two ${role}`);
        }
      },
    },
    {
      name: "merges each tensor by itself if it says that it is tensorwise",
      async run() {
        if (!make().tensorwise) return;
        const blocks = await blocksOf();
        const weights = [0.5, 0.3, 0.2];
        for (const [role, values] of valuesOf(await merge(blocks, weights))) {
          const alone = blocks.map((block) => ({
            ...block,
            tensors: new Map([[role, block.tensors.get(role)!]]),
          }));
          const got = valuesOf(await merge(alone, weights)).get(role);
          ensure(got !== undefined && equalValues(got, values), `${id}: ${role} by itself becomes another`);
        }
      },
    },
    {
      name: "merges as its coefficients say, if it gives them",
      async run() {
        const { coefficients } = make();
        if (!coefficients) return;
        const blocks = await blocksOf();
        const weights = [0.5, 0.3, 0.2];
        for (const [role, values] of valuesOf(await merge(blocks, weights))) {
          const factors = coefficients(weights, role);
          const parts = blocks.flatMap((block, i) =>
            factors[i] === 0 ? [] : [{ factor: factors[i], data: contiguousData(block.tensors.get(role)!) }],
          );
          const sums = values.map((_, i) =>
            parts.reduce((sum, { factor, data }) => sum + factor * data[i], 0),
          );
          ensure(equalValues(values, sums), `${id}: ${role} is not the sum that its coefficients give`);
        }
      },
    },
    {
      name: "merges equal layers into what does as they do",
      async run() {
        const [block] = await blocksOf();
        for (const count of [2, 3]) {
          const copies = Array.from({ length: count }, (_, layer) => ({ ...block, layer }));
          await ensureSame(await merge(copies), block, `${count} equal layers`);
        }
      },
    },
    {
      name: "refuses blocks of different shapes, or keeps one of them",
      async run() {
        const [first] = await blocksOf();
        const other = await tinyLlama({
          layerCount: 1,
          hiddenSize: 16,
          intermediateSize: 20,
          headCount: 4,
        }).block(0);
        let merged: BlockView;
        try {
          merged = await merge([first, other]);
        } catch (error) {
          return ensure(isLayerfoldError(error), `${id}: refused by ${error} instead of a LayerfoldError`);
        }
        const kept = [first, other].some(({ tensors }) =>
          [...tensors].every(([role, value]) => merged.tensors.get(role) === value),
        );
        ensure(kept, `${id}: blocks of different shapes were merged`);
      },
    },
  ];
  if (followsWeights) {
    checks.push({
      name: "gives a block that has all the weight",
      async run() {
        const blocks = await blocksOf();
        for (const kept of [0, 1, 2]) {
          const weights = blocks.map((_, i) => (i === kept ? 1 : 0));
          await ensureSame(await merge(blocks, weights), blocks[kept], `all the weight on block ${kept}`);
        }
      },
    });
  }
  return checks;
}

/** What a block makes of a fixed stream. */
async function streamBehind(model: ModelRunner, block: BlockView): Promise<Float32Array> {
  const input = await model.embed(tokenBatch([[3, 1, 4, 1, 5, 9]]));
  const { hidden } = await model.runBlock(0, input, { replace: block });
  return contiguousData(hidden.states);
}

/** A block whose tensors are views into larger data full of NaN. */
function strided(block: BlockView): BlockView {
  const tensors = [...block.tensors].map(([role, value]): [string, Tensor] => {
    if (value.shape.length === 2) return [role, stridedCopy(value)];
    const data = new Float32Array(2 * value.shape[0] + 1).fill(Number.NaN);
    contiguousData(value).forEach((x: number, i: number) => void (data[2 * i + 1] = x));
    return [role, tensor(data, value.shape, [2], 1)];
  });
  return { ...block, tensors: new Map(tensors) };
}
