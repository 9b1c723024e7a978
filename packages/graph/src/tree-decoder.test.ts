import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "@layerfold/checkpoint";
import { firstOf, type TreeTarget, tokenBatch } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { openDecoder } from "./open-decoder.js";
import { openTreeDecoder, readsTrees } from "./tree-decoder.js";

const root = fileURLToPath(new URL("../test/golden/", import.meta.url));
const models = ["architectures", "variants"].flatMap((kind) =>
  readdirSync(`${root}${kind}`).map((name) => `${kind}/${name}`),
);

const text = (seed: number, length: number) =>
  Array.from({ length }, (_, i) => (seed * 31 + i * 17 + ((i * i) % 7)) % 60);

describe.each(models)("%s", (model) => {
  it("reads in a tree what it reads of each text alone, or is refused", async () => {
    const checkpoint = await openCheckpoint(`${root}${model}`);
    try {
      if (!readsTrees(checkpoint.architecture)) {
        await expect(openTreeDecoder(checkpoint)).rejects.toMatchObject({ code: "TREE_UNSUPPORTED" });
        return;
      }
      const start = text(1, 9);
      const middle = text(2, 5);
      // Longer than the windows of all models here together with what goes before.
      const ends = [text(3, 12), text(4, 3)];
      const other = text(5, 4);
      const decoder = await openDecoder(checkpoint, { threads: 1 });
      const alone = async (ids: number[]) => {
        const { data, shape } = await firstOf(decoder.logits([tokenBatch([ids])]));
        return Array.from({ length: shape[1] }, (_, t) => data.subarray(t * shape[2], (t + 1) * shape[2]));
      };
      const tree = await openTreeDecoder(checkpoint, { threads: 1 });
      const every = (branch: number, ids: number[]): TreeTarget[] =>
        ids.map((_, position) => ({ branch, position, id: (position * 7) % 50 }));

      const first = await tree.read({
        branches: [
          { after: -1, ids: start },
          { after: -1, ids: other },
        ],
        targets: [...every(0, start), ...every(1, other)],
        remember: true,
      });
      const second = await tree.read({
        after: first.memory,
        branches: [
          { after: 0, ids: middle },
          { after: 2, ids: ends[0] },
          { after: 2, ids: ends[1] },
        ],
        targets: [...every(0, middle), ...every(1, ends[0]), ...every(2, ends[1])],
        remember: true,
      });
      const memory = tree.keep(second.memory!, [4]);
      expect(memory).toMatchObject({ branches: 3, tokens: start.length + middle.length + ends[1].length });
      const third = await tree.read({
        after: memory,
        branches: [{ after: 2, ids: [7] }],
        targets: [{ branch: 0, position: 0, id: 9 }],
      });

      const whole = [
        await alone([...start, ...middle, ...ends[0]]),
        await alone([...start, ...middle, ...ends[1]]),
      ];
      const last = await alone([...start, ...middle, ...ends[1], 7]);
      const expected = [
        ...whole[0].slice(0, 9),
        ...(await alone(other)),
        ...whole[0].slice(9),
        ...whole[1].slice(14),
        last[last.length - 1],
      ];
      const scores = [first, second, third].map((reading) => reading.scores);
      const found = scores.flatMap(({ logProbabilities }) => Array.from(logProbabilities));
      const best = scores.flatMap((score) => Array.from(score.best));
      const ids = [
        ...every(0, start),
        ...every(1, other),
        ...every(0, middle),
        ...every(1, ends[0]),
        ...every(2, ends[1]),
        { id: 9 },
      ].map(({ id }) => id);
      expected.forEach((logits, i) => {
        const most = Math.max(...logits);
        const logSum = most + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
        expect(Math.abs(found[i] - (logits[ids[i]] - logSum)), `row ${i}`).toBeLessThan(2e-4);
        expect(logits[best[i]]).toBeGreaterThan(most - 2e-4);
      });
      await tree.close();
      await decoder.close();
    } finally {
      await checkpoint.close();
    }
  });
});
