import { contiguousData, defineEmbedding, LayerfoldError, type Matrix, tensor, z } from "@layerfold/core";
import { expect, it } from "vitest";
import { embeddingChecks } from "./embedding-checks.js";

const optionsSchema = z.strictObject({});

function embedding(place: (points: Matrix, uniform: () => number) => Matrix, careless = false) {
  return defineEmbedding({
    id: "demo",
    summary: "demo",
    optionsSchema,
    create: () => ({
      async fit(points, ctx) {
        if (!careless && !contiguousData(points).every(Number.isFinite)) {
          throw new LayerfoldError("POINTS_NOT_FINITE", "no");
        }
        return { coordinates: place(points, ctx.rng.uniform) };
      },
    }),
  });
}

/** The first two features. */
const firstTwo = (points: Matrix) => {
  const [rows, columns] = points.shape;
  const values = contiguousData(points);
  return tensor(
    Float64Array.from({ length: rows * 2 }, (_, at) => values[Math.floor(at / 2) * columns + (at % 2)]),
    [rows, 2],
  );
};

async function broken(make: () => ReturnType<ReturnType<typeof embedding>>): Promise<string[]> {
  const names: string[] = [];
  for (const { name, run } of embeddingChecks(make)) await run().catch(() => names.push(name));
  return names;
}

it("passes an honest embedding", async () => {
  expect(await broken(embedding(firstTwo))).toEqual([]);
});

it.each<[string, (points: Matrix) => Matrix]>([
  [
    "does not depend on the order of the samples",
    (p) =>
      tensor(
        firstTwo(p).data.map((v, at) => v + at),
        [p.shape[0], 2],
      ),
  ],
  [
    "reads strided points as it reads contiguous ones",
    (p) => firstTwo({ ...p, stride: [p.shape[1], 1], offset: 0 }),
  ],
  [
    "gives every sample finite coordinates, and a descending spectrum if any",
    (p) => tensor(firstTwo(p).data, [p.shape[0] - 1, 2]),
  ],
  [
    "leaves its input untouched",
    (p) => {
      p.data[p.offset]++;
      return firstTwo(p);
    },
  ],
])("catches an embedding that breaks: %s", async (name, place) => {
  expect(await broken(embedding(place))).toContain(name);
});

it("catches global randomness and swallowed NaN", async () => {
  let calls = 0;
  expect(
    await broken(
      embedding((p) =>
        tensor(
          firstTwo(p).data.map((v) => v + calls++),
          [p.shape[0], 2],
        ),
      ),
    ),
  ).toContain("gives the same coordinates for the same seed");
  expect(await broken(embedding(firstTwo, true))).toContain("refuses points that are not finite");
});
