import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "@layerfold/checkpoint";
import { contiguousData, type Tap, type Tensor, tensor, tokenBatch } from "@layerfold/core";
import { tinyLlama, writeTinyLlama } from "@layerfold/testkit";
import { expect, it } from "vitest";
import { openRunner } from "./open-runner.js";

// Two ways to compute one model, neither of which knows the other: testkit's in plain float64 loops, ours in ONNX Runtime.
it.each([{}, { keyValueHeadCount: 2, attentionBias: true, mlpBias: true, tied: true, layerCount: 2 }])(
  "the tiny Llama in memory is the one on disk: %j",
  async (options) => {
    const directory = await mkdtemp(join(tmpdir(), "layerfold-tiny-"));
    try {
      await writeTinyLlama(directory, options);
      const checkpoint = await openCheckpoint(directory);
      const model = await openRunner(checkpoint);
      const memory = tinyLlama(options);
      const batch = tokenBatch([
        [3, 1, 4, 1, 5, 9, 2],
        [6, 5, 3],
      ]);
      const taps: Tap[] = [
        ...["attention.input", "attention.heads", "attention.update", "residual.mid"],
        ...["mlp.input", "mlp.hidden", "mlp.update"],
      ] as Tap[];
      /** Real tokens only. */
      const same = (got: Tensor, wanted: Tensor) => {
        expect(got.shape).toEqual(wanted.shape);
        const width = got.shape.at(-1)!;
        const [a, b] = [contiguousData(got), contiguousData(wanted)];
        for (const [row, length] of batch.lengths.entries()) {
          const start = row * batch.sequenceLength * width;
          for (let i = start; i < start + length * width; i++)
            expect(Math.abs(a[i] - b[i])).toBeLessThan(2e-5);
        }
      };
      let [hidden, wanted] = [await memory.embed(batch), await model.embed(batch)];
      same(hidden.states, wanted.states);
      for (let layer = 0; layer < model.layerCount; layer++) {
        const dense = await model.block(layer);
        const view = await memory.block(layer);
        expect({ type: view.type, roles: [...view.tensors.keys()].sort() }).toEqual({
          type: dense.type,
          roles: [...dense.tensors.keys()].sort(),
        });
        expect(view.spec).toMatchObject({
          ...dense.spec,
          tensors: expect.anything(),
          shapes: expect.anything(),
          mixer: { ...dense.spec!.mixer, rotary: expect.anything() },
        });
        const [mine, theirs] = [
          await memory.runBlock(layer, hidden, { taps }),
          await model.runBlock(layer, wanted, { taps }),
        ];
        for (const tap of taps) same(mine.taps.get(tap)!, theirs.taps.get(tap)!);
        [hidden, wanted] = [mine.hidden, theirs.hidden];
        same(hidden.states, wanted.states);
      }
      same(await memory.head(hidden), await model.head(wanted));
      const rows = tensor(contiguousData(wanted.states).slice(0, 2 * model.hiddenSize), [
        2,
        model.hiddenSize,
      ]);
      const targets = Int32Array.of(7, 9);
      const [a, b] = [
        await memory.logProbabilities(rows, targets),
        await model.logProbabilities(rows, targets),
      ];
      for (const i of [0, 1]) expect(a[i]).toBeCloseTo(b[i], 4);
      await model.close();
      await checkpoint.close();
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
);
