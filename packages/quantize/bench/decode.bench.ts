/**
 * Single-token decoding of a model in float32 and quantised, in one run: tokens per second of 128 greedy tokens after a prompt of 128, the
 * median of 5 runs that take turns, beside sizes and perplexity.
 *
 * npx jiti packages/quantize/bench/decode.bench.ts UNFOLDED FOLDED TEXT QUANTISED...
 *
 * UNFOLDED is the whole model, whose bytes as bfloat16 sizes are measured by; FOLDED is run in float32; every QUANTISED with int8
 * products (accuracy level 4), as `layerfold generate` runs it.
 */
import { openCheckpoint, openTokenizer, readDocuments, tokenWindows } from "@layerfold/checkpoint";
import { elementCount, type RunContext } from "@layerfold/core";
import { perplexity } from "@layerfold/evaluate";
import { type Generator, openDecoder, openGenerator } from "@layerfold/graph";
import { seededRng } from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { isQuantized, quantizedWeights } from "@layerfold/quantize";

const [unfolded, folded, text, ...quantized] = process.argv.slice(2);
const [promptLength, newTokens, runs, testTokens] = [128, 128, 5, 8192];
const ctx: RunContext = { rng: seededRng(0), engine: onnxEngine() };

const whole = await openCheckpoint(unfolded);
const bfloat16Bytes = [...whole.architecture.globals.values()]
  .concat(whole.architecture.blocks.flatMap(({ shapes }) => [...shapes.values()]))
  .reduce((sum, shape) => sum + 2 * elementCount(shape), 0);
await whole.close();

const { sequences } = tokenWindows(await readDocuments(text), await openTokenizer(unfolded), {
  maxTokens: testTokens,
});
const prompt = sequences[0].ids.subarray(0, promptLength);

interface Contender {
  readonly label: string;
  readonly generator: Generator;
  readonly bytes: number;
  /** Perplexity with float32 products. */
  readonly exact: number;
  /** Perplexity with the int8 products that are timed. */
  readonly fast?: number;
  readonly rates: number[];
}

const contenders: Contender[] = [];
for (const directory of [folded, ...quantized]) {
  const checkpoint = await openCheckpoint(directory);
  const weights = isQuantized(checkpoint) ? await quantizedWeights(checkpoint) : undefined;
  const bytes = [...checkpoint.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const perplexityAt = async (accuracyLevel: 0 | 4) => {
    const decoder = await openDecoder(checkpoint, { quantizedWeights: weights, accuracyLevel });
    const measured = await perplexity(decoder, sequences, {}, ctx);
    await decoder.close();
    return measured.perplexity;
  };
  contenders.push({
    label: directory.split("/").at(-1) ?? directory,
    generator: await openGenerator(checkpoint, { quantizedWeights: weights, accuracyLevel: 4 }),
    bytes,
    exact: await perplexityAt(0),
    ...(weights && { fast: await perplexityAt(4) }),
    rates: [],
  });
}
for (let round = 0; round < runs; round++) {
  for (const { generator, rates } of contenders) {
    let start = 0;
    let count = 0;
    for await (const _ of generator.generate(prompt, { maxNewTokens: newTokens + 1 })) {
      // The first token comes with the prompt, which is not what is measured.
      if (count++ === 0) start = performance.now();
    }
    rates.push((1000 * newTokens) / (performance.now() - start));
  }
}
const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const base = median(contenders[0].rates);
console.log(
  "| model | tokens/s (median of 5) | × float32 | MiB of tensors | of unfolded bfloat16 | perplexity | with int8 products |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
);
for (const { label, rates, bytes, exact, fast } of contenders) {
  const rate = median(rates);
  const cells = [
    label,
    `${rate.toFixed(1)} (${Math.min(...rates).toFixed(1)} to ${Math.max(...rates).toFixed(1)})`,
    (rate / base).toFixed(2),
    (bytes / 2 ** 20).toFixed(1),
    `${((100 * bytes) / bfloat16Bytes).toFixed(1)} %`,
    exact.toFixed(3),
    fast?.toFixed(3) ?? "",
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
