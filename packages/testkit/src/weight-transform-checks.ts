import {
  type BlockView,
  type CalibrationStatistics,
  contiguousData,
  type Role,
  type Tap,
  tensor,
  tokenBatch,
  type WeightTransform,
} from "@layerfold/core";
import {
  type ConformanceCheck,
  ensure,
  ensureRefused,
  ensureStandsFor,
  ensureUntouched,
  equalValues,
  identityCheck,
  valuesOf,
} from "./conformance.js";
import { statisticsOf } from "./quantizer-checks.js";
import { testContext } from "./test-context.js";
import { tinyLlama } from "./tiny-llama-runner.js";

export interface WeightTransformCheckOptions {
  /** Whether the block does as before; false for transforms that clip. Default true. */
  readonly preserves?: boolean;
  /** How far outputs may lie apart, beside the largest of them; default 1e-4. */
  readonly tolerance?: number;
}

/** What every linear map of a block reads. */
const inputs: readonly (readonly [Tap, readonly Role[]])[] = [
  ["attention.input", ["attention.query", "attention.key", "attention.value"]],
  ["attention.heads", ["attention.output"]],
  ["mlp.input", ["mlp.gate", "mlp.up"]],
  ["mlp.hidden", ["mlp.down"]],
];

/**
 * The laws of a weight transform: a block of the same roles and shapes that does what it did (unless it clips), inputs untouched, the same
 * calibration the same block, and refused without the statistics that it needs.
 *
 * @param make - makes the transform anew; group sizes must divide 32 and 48, the widths of the block that it is tried on
 *
 * @example
 * ```ts
 * for (const { name, run } of weightTransformChecks(() => myTransform())) it(name, run);
 * ```
 */
export function weightTransformChecks(
  make: () => WeightTransform,
  { preserves = true, tolerance = 1e-4 }: WeightTransformCheckOptions = {},
): ConformanceCheck[] {
  const { id, needs = [] } = make();
  const model = tinyLlama({ layerCount: 1 });
  const batch = tokenBatch(
    Array.from({ length: 6 }, (_, row) => Int32Array.from({ length: 24 }, (_, i) => (row * 29 + i * 7) % 64)),
  );

  const calibrated = async (): Promise<Map<Role, CalibrationStatistics>> => {
    const { taps } = await model.runBlock(0, await model.embed(batch), { taps: inputs.map(([tap]) => tap) });
    return new Map(
      inputs.flatMap(([tap, roles]) => {
        const { data, shape } = taps.get(tap)!;
        const rows = tensor(Float64Array.from(data), [shape[0] * shape[1], shape[2]]);
        const known = statisticsOf(rows, needs);
        return roles.map((role) => [role, known] as const);
      }),
    );
  };
  const fit = async (statistics?: ReadonlyMap<Role, CalibrationStatistics>): Promise<BlockView> =>
    make().fit(await model.block(0), statistics ?? (await calibrated()), testContext(1));

  return [
    identityCheck("transform", make),
    {
      name: "gives a block of the same roles and shapes",
      async run() {
        ensureStandsFor(await fit(), await model.block(0), id);
      },
    },
    ...(preserves
      ? [
          {
            name: "gives a block that does what it did",
            async run() {
              const stream = await model.embed(batch);
              const wanted = contiguousData((await model.runBlock(0, stream)).hidden.states);
              const got = contiguousData(
                (await model.runBlock(0, stream, { replace: await fit() })).hidden.states,
              );
              const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
              const apart = got.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
              ensure(
                apart <= tolerance * largest,
                `${id}: outputs lie ${apart / largest} apart, relative to the largest`,
              );
            },
          },
        ]
      : []),
    {
      name: "leaves block and statistics untouched",
      async run() {
        const block = await model.block(0);
        const before = valuesOf(block);
        const statistics = await calibrated();
        await fit(statistics);
        ensureUntouched(block, before, `${id}: the block`);
        const again = await calibrated();
        for (const [role, known] of statistics) {
          const fresh = again.get(role)!;
          for (const kind of ["absoluteMaximum", "absoluteMean"] as const) {
            if (known[kind])
              ensure(equalValues(known[kind], fresh[kind]!), `${id}: ${kind} of ${role} was changed`);
          }
          if (known.gram)
            ensure(equalValues(known.gram.data, fresh.gram!.data), `${id}: the Gram of ${role} was changed`);
        }
      },
    },
    {
      name: "gives the same block for the same calibration",
      async run() {
        const again = valuesOf(await fit());
        for (const [role, values] of valuesOf(await fit())) {
          ensure(equalValues(again.get(role)!, values), `${id}: a second call gave another ${role}`);
        }
      },
    },
    {
      name: "refuses to run without the statistics that it needs",
      async run() {
        if (needs.length === 0) return;
        await ensureRefused(`${id}: no statistics`, () => fit(new Map()));
        for (const missing of needs) {
          const known = [...(await calibrated())].map(
            ([role, { [missing]: _, ...rest }]) => [role, rest] as const,
          );
          await ensureRefused(`${id}: statistics without ${missing}`, () => fit(new Map(known)));
        }
      },
    },
  ];
}
