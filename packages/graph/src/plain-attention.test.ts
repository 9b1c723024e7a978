import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { firstOf, tokenBatch } from "@layerfold/core";
import { graphBuilder, onnxTensor, openSession } from "@layerfold/onnx";
import { expect, it } from "vitest";
import { block } from "./block.js";
import { checkpointWeights } from "./checkpoint-weights.js";
import { openDecoder } from "./open-decoder.js";
import { rotaryTables } from "./rotary-tables.js";
import { sequenceInputs, sequenceValues } from "./sequence.js";
import { storedBlock } from "./stored-block.js";

// The graph as CUDA gets it, run on the CPU: its operators are ONNX's own, so what they compute hangs on no provider.
const root = fileURLToPath(new URL("../test/golden/", import.meta.url));
const models = ["architectures", "variants"]
  .flatMap((kind) => readdirSync(`${root}${kind}`).map((name) => `${kind}/${name}`))
  .filter((name) => !name.includes("jamba"));

/** One block of a model, lowered for CUDA, which remembers. */
async function openBlock(checkpoint: Checkpoint, layer: number) {
  const { architecture } = checkpoint;
  const graph = graphBuilder({ device: "cuda" });
  const tables = rotaryTables(architecture);
  const weights = checkpointWeights(checkpoint);
  const sequence = sequenceValues(graph, tables);
  const shape = ["batch", "sequence", architecture.hiddenSize];
  let [keyValueHeads, headSize] = [0, 0];
  const state = {
    past(name: string, wanted: readonly (number | string)[]) {
      [, keyValueHeads, , headSize] = wanted as number[];
      return graph.input(`past.${name}`, "float32", wanted);
    },
    present(name: string, value: string, wanted: readonly (number | string)[]) {
      graph.output(`present.${name}`, value, "float32", wanted);
    },
  };
  const spec = architecture.blocks[layer];
  const stream = graph.input("stream", "float32", shape);
  const out = block(storedBlock({ graph, checkpoint, weights, spec, sequence, state }), stream);
  graph.output("out", out, "float32", shape);
  const session = await openSession(graph.build(), { threads: 1, ...weights.session });
  const empty = onnxTensor("float32", new Float32Array(0), [2, keyValueHeads, 0, headSize]);
  return {
    close: session.close,
    /** @param stream - [2, count, hidden] */
    async run(stream: Float32Array, count: number, past = 0, memory = { key: empty, value: empty }) {
      const ran = await session.run({
        stream: onnxTensor("float32", stream, [2, count, architecture.hiddenSize]),
        "past.key": memory.key,
        "past.value": memory.value,
        ...sequenceInputs(session.inputNames, tables, Int32Array.of(count, count), count, past),
      });
      return {
        out: ran.out.data as Float32Array,
        memory: { key: ran["present.key"] as typeof empty, value: ran["present.value"] as typeof empty },
      };
    },
  };
}

it.each(models)("%s: every block does as with the fused kernel, at once and in two runs", async (model) => {
  const checkpoint = await openCheckpoint(`${root}${model}`);
  const { hiddenSize, blocks } = checkpoint.architecture;
  const [length, first] = [12, 7];
  const batch = tokenBatch([
    [5, 17, 3, 9, 4, 7, 2, 11, 6, 1, 8, 30],
    [8, 1, 2, 0, 7, 3, 9, 12, 4, 5, 22, 6],
  ]);
  const decoder = await openDecoder(checkpoint, { threads: 1 });
  const { residuals } = await firstOf(decoder.capture([batch], {}));
  /** Tokens from..to of both rows. */
  const part = (values: Float32Array, from: number, to: number) =>
    Float32Array.from(
      [0, 1].flatMap((row) =>
        Array.from(values.subarray((row * length + from) * hiddenSize, (row * length + to) * hiddenSize)),
      ),
    );
  for (const [layer] of blocks.entries()) {
    const plain = await openBlock(checkpoint, layer);
    const [stream, wanted] = [residuals![layer], residuals![layer + 1]];
    const close = (got: Float32Array, expected: Float32Array) => {
      const scale = Math.max(1, ...expected.map(Math.abs));
      got.forEach((value, i) => {
        expect(Math.abs(value - expected[i]) / scale).toBeLessThan(1e-5);
      });
    };
    close((await plain.run(stream, length)).out, wanted);
    // Where long sequences have frequencies of their own, a short first run is another model.
    if (!rotaryTables(checkpoint.architecture).changeover(first, length)) {
      const before = await plain.run(part(stream, 0, first), first);
      close(before.out, part(wanted, 0, first));
      const rest = await plain.run(part(stream, first, length), length - first, first, before.memory);
      close(rest.out, part(wanted, first, length));
    }
    await plain.close();
  }
  await decoder.close();
  await checkpoint.close();
});
