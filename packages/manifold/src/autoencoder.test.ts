import { tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { embeddingChecks, randomMatrix, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { autoencoder } from "./autoencoder.js";

const ctx = testContext(1, { engine: portableEngine() });

describe("conformance", () => {
  const make = () => autoencoder({ hiddenSize: 8, epochs: 5 });
  for (const { name, run } of embeddingChecks(make, { orderFree: false })) it(name, run);
});

it("learns a two-dimensional subspace and says what it leaves", async () => {
  const code = randomMatrix(200, 2, seededRng(1));
  const points = await ctx.engine.matmul(code, randomMatrix(2, 10, seededRng(2)));
  const messages: string[] = [];
  const report = (event: { type: string; code?: string; message?: string }) => {
    if (event.code === "AUTOENCODER_ERROR") messages.push(event.message as string);
  };
  await autoencoder({ hiddenSize: 32, epochs: 300, batchSize: 50 }).fit(points, { ...ctx, report });
  expect(messages).toHaveLength(1);
  // The subspace holds all of the variance; a code that had found one direction only would leave far more than 5 %.
  expect(Number.parseFloat(messages[0].replace(/^\D*/, ""))).toBeLessThan(5);
});

it("refuses samples that coincide", async () => {
  const same = tensor(new Float64Array(8).fill(3), [4, 2]);
  await expect(autoencoder().fit(same, ctx)).rejects.toMatchObject({ code: "POINTS_IDENTICAL" });
});
