import type { Artefact, TaskContext } from "@layerfold/tasks";
import { expect, it } from "vitest";
import { joinedMeasureTask, type MeasuredText } from "./measure.js";

const shard = (kl: number | null, agreement: number | null, losses: number[], tokens: number[]) => {
  const count = tokens.reduce((a, b) => a + b, 0);
  const value: MeasuredText = {
    perplexity: Math.exp(losses.reduce((a, b) => a + b, 0) / count),
    kl_to_dense: kl,
    top1_agreement: agreement,
    tokens: count,
    window_losses: losses,
    window_tokens: tokens,
  };
  return { digest: `${kl}`, path: "", diagnostics: [], read: async () => value } as Artefact<MeasuredText>;
};

const joined = (shards: Record<string, Artefact<MeasuredText>>) =>
  joinedMeasureTask({}, shards).run(new Map(Object.entries(shards)), {} as TaskContext);

it("joins shards to what the whole text would have given, every token weighed alike", async () => {
  const first = shard(0.2, 0.5, [4, 6], [2, 2]);
  const second = shard(0.8, 1, [12], [12]);
  expect(await joined({ "1": second, "0": first })).toEqual({
    perplexity: Math.exp(22 / 16),
    kl_to_dense: expect.closeTo((0.2 * 4 + 0.8 * 12) / 16, 12),
    top1_agreement: expect.closeTo((0.5 * 4 + 12) / 16, 12),
    tokens: 16,
    window_losses: [4, 6, 12],
    window_tokens: [2, 2, 12],
  });
  const alone = shard(null, null, [4], [2]);
  expect(await joined({ "0": alone, "1": alone })).toMatchObject({ kl_to_dense: null, top1_agreement: null });
});
