import {
  contiguousData,
  type Evidence,
  type EvidenceKind,
  isLayerfoldError,
  keptLayer,
  type MergePlan,
  type Planner,
  parsePlan,
  type RemeasuredLayers,
  type ReportEvent,
  tensor,
} from "@layerfold/core";
import {
  type ConformanceCheck,
  ensure,
  ensureRefused,
  ensureReports,
  equalValues,
  identityCheck,
} from "./conformance.js";
import { testContext } from "./test-context.js";

export interface PlannerCheckOptions {
  /** Depths of the models that are planned for; default 2, 5 and 9 layers. Every target of each is asked for. */
  readonly layerCounts?: readonly number[];
}

/** Something that a planner asked of its evidence: how many questions stood in each list. */
interface Asked {
  readonly kind: EvidenceKind;
  readonly count: number;
}

interface EvidenceOptions {
  readonly kinds: readonly EvidenceKind[];
  /** Whether two layers can stand for one another; default: any. */
  readonly compatible?: Evidence["compatible"];
  /** Answers come after so many turns of the event loop. */
  readonly delay?: number;
  readonly onAsked?: (asked: Asked) => void;
}

const evidenceKinds: readonly EvidenceKind[] = [
  ...(["similarity", "tokenStatistics", "evaluate", "evaluateDivergence", "evaluateRepaired"] as const),
  ...(["evaluateFolded", "compareOutputs", "remeasure"] as const),
];

/**
 * The laws of a planner: a valid plan for every target that it can serve (else `PLAN_IMPOSSIBLE`), the same for the same seed and however late
 * answers come, evidence untouched, only such layers merged as can stand for one another, questions well formed, impossible targets and missing
 * evidence refused, nothing asked any more once the work was called off.
 *
 * Evidence is drawn from a seed; a model's loss is a fixed function of its plan, so that answers do not depend on what else is asked.
 *
 * @param make - makes the planner anew
 *
 * @example
 * ```ts
 * for (const { name, run } of plannerChecks(() => myPlanner({ firstLayer: 2 }))) it(name, run);
 * ```
 */
export function plannerChecks(
  make: () => Planner,
  { layerCounts = [2, 5, 9] }: PlannerCheckOptions = {},
): ConformanceCheck[] {
  const { id, needs } = make();
  const deepest = Math.max(...layerCounts);
  const given = { kinds: needs };
  /** The plan, or undefined where the planner says that there is none. */
  const planned = async (
    layerCount: number,
    target: number,
    options: EvidenceOptions = given,
    seed = 1,
    report?: (event: ReportEvent) => void,
  ): Promise<MergePlan | undefined> => {
    try {
      const evidence = drawnEvidence(layerCount, options);
      return await make().plan(evidence, target, testContext(seed, { ...(report && { report }) }));
    } catch (error) {
      if (isLayerfoldError(error, "PLAN_IMPOSSIBLE")) return undefined;
      throw error;
    }
  };
  /** Every depth with every target. */
  const cases = layerCounts.flatMap((layerCount) =>
    Array.from({ length: layerCount - 1 }, (_, i) => [layerCount, i + 1] as const),
  );
  /** A target of the deepest model that the planner can serve. */
  const served = async () => {
    for (let target = deepest - 1; target >= 1; target--) if (await planned(deepest, target)) return target;
    return deepest - 1;
  };

  return [
    identityCheck("planner", make),
    {
      name: "needs kinds of evidence that there are",
      async run() {
        ensure(Array.isArray(needs), `${id}: needs is no list`);
        for (const kind of needs)
          ensure(evidenceKinds.includes(kind), `${id}: nobody knows evidence "${kind}"`);
      },
    },
    {
      name: "gives a valid plan of as many layers as asked for, whatever the target",
      async run() {
        let found = 0;
        for (const [layerCount, target] of cases) {
          const plan = await planned(layerCount, target);
          if (!plan) continue;
          found++;
          parsePlan(JSON.parse(JSON.stringify(plan)), `${id}, ${target} of ${layerCount}`);
          ensure(
            plan.num_hidden_layers === layerCount,
            `${id}: the plan is for ${plan.num_hidden_layers} layers`,
          );
          // A half that falls silent is half a layer less.
          const left = plan.groups.reduce((sum, { without = [] }) => sum + 1 - without.length / 2, 0);
          ensure(left === target, `${id}: ${left} layers are left instead of ${target}`);
        }
        ensure(found > 0, `${id}: no target could be served`);
      },
    },
    {
      name: "gives the same plan for the same seed, however late answers come",
      async run() {
        for (const [layerCount, target] of cases) {
          const first = JSON.stringify(await planned(layerCount, target));
          for (const [law, delay] of [
            ["a second call", 0],
            ["answers that come late", 3],
          ] as const) {
            const again = JSON.stringify(await planned(layerCount, target, { ...given, delay }));
            ensure(first === again, `${id}: ${law} gave another plan for ${target} of ${layerCount}`);
          }
        }
      },
    },
    {
      name: "leaves its evidence untouched",
      async run() {
        const [evidence, copy] = [drawnEvidence(deepest, given), drawnEvidence(deepest, given)];
        await make().plan(evidence, await served(), testContext(1));
        for (const [name, matrix] of matricesOf(evidence)) {
          ensure(equalValues(matrix, matricesOf(copy).get(name)!), `${id}: ${name} was changed`);
        }
      },
    },
    {
      name: "can do without evidence that it does not name",
      async run() {
        for (const [layerCount, target] of cases) {
          const all = await planned(layerCount, target, { kinds: evidenceKinds });
          const own = await planned(layerCount, target);
          // What is there beside it may be looked at, as long as a plan comes without it too.
          ensure(
            (all === undefined) === (own === undefined),
            `${id}: only further evidence makes ${target} of ${layerCount} possible`,
          );
        }
      },
    },
    {
      name: "merges only layers that can stand for one another",
      async run() {
        // Layers of two kinds, the first half and the second.
        const compatible = (a: number, b: number) => a < deepest / 2 === b < deepest / 2;
        for (let target = 1; target < deepest; target++) {
          const plan = await planned(deepest, target, { ...given, compatible });
          for (const group of plan?.groups ?? []) {
            if (keptLayer(group) !== undefined) continue;
            ensure(
              group.layers.every((layer) => compatible(group.layers[0], layer)),
              `${id}: layers ${group.layers} are merged, but are of two kinds`,
            );
          }
        }
      },
    },
    {
      name: "refuses to leave no layer, all layers or more, or parts of one",
      async run() {
        for (const target of [0, deepest, deepest + 1, -1, 1.5, Number.NaN]) {
          await ensureRefused(`${id}: a target of ${target} of ${deepest} layers`, () =>
            make().plan(drawnEvidence(deepest, given), target, testContext(1)),
          );
        }
      },
    },
    {
      name: "refuses to plan without what it needs",
      async run() {
        if (needs.length === 0) return;
        const target = await served();
        await ensureRefused(`${id}: evidence without ${needs}`, () =>
          make().plan(drawnEvidence(deepest, { kinds: [] }), target, testContext(1)),
        );
      },
    },
    {
      name: "asks nothing any more once the work was called off",
      async run() {
        const target = await served();
        const controller = new AbortController();
        let asked = 0;
        const evidence = drawnEvidence(deepest, {
          ...given,
          onAsked: () => {
            asked++;
            controller.abort();
          },
        });
        await Promise.resolve(
          make().plan(evidence, target, testContext(1, { signal: controller.signal })),
        ).catch((error) =>
          ensure(
            isLayerfoldError(error) && error.fault === "interrupted",
            `${id}: called off, it fails with ${error}`,
          ),
        );
        ensure(asked <= 1, `${id}: it asked ${asked - 1} times more after the work was called off`);
      },
    },
    {
      name: "reports progress within its total, and diagnostics by stable codes",
      async run() {
        const events: ReportEvent[] = [];
        await planned(deepest, await served(), given, 1, (event) => events.push(event));
        ensureReports(id, events);
      },
    },
  ];
}

function matricesOf({ similarity, tokenStatistics }: Evidence): Map<string, ArrayLike<number>> {
  return new Map<string, ArrayLike<number>>([
    ...(similarity ? [["the similarity matrix", contiguousData(similarity)] as const] : []),
    ...(tokenStatistics
      ? ([
          ["the tokens' cosines", contiguousData(tokenStatistics.cosine)],
          ["the tokens' angles", contiguousData(tokenStatistics.angle)],
          ["the tokens' norms", tokenStatistics.norm],
        ] as const)
      : []),
  ]);
}

/** Evidence of a made-up model. Whatever is asked must be well formed, and each answer depends on its own question only. */
function drawnEvidence(layerCount: number, options: EvidenceOptions): Evidence {
  const { kinds, compatible = () => true, delay = 0, onAsked } = options;
  const rng = testContext(100 + layerCount).rng;
  const symmetric = (size: number, diagonal: number, of: string) => {
    const stream = rng.fork(of);
    const values = new Float64Array(size * size).fill(diagonal);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < i; j++) values[i * size + j] = values[j * size + i] = stream.uniform();
    }
    return tensor(values, [size, size]);
  };
  const answered = <Q, A>(kind: EvidenceKind, check: (asked: Q) => void, answer: (asked: Q) => A) => {
    return async (list: readonly Q[]): Promise<readonly A[]> => {
      ensure(Array.isArray(list), `evidence "${kind}" is asked in lists`);
      list.forEach(check);
      onAsked?.({ kind, count: list.length });
      for (let turn = 0; turn < delay; turn++) await new Promise(setImmediate);
      return list.map(answer);
    };
  };
  const checkPlan = (plan: MergePlan) => {
    parsePlan(plan, "a plan that was asked about");
    ensure(plan.num_hidden_layers === layerCount, "a plan for another model was asked about");
  };
  const checkRemeasured = ({ plan, groups }: RemeasuredLayers) => {
    checkPlan(plan);
    groups.forEach((group, i) => {
      const known = Number.isInteger(group) && group >= 0 && group < plan.groups.length;
      ensure(known && (i === 0 || group > groups[i - 1]), `groups ${groups} are not in order`);
    });
    ensure(groups.length > 0, "no group of a plan was asked about");
  };
  const checkGroup = (layers: readonly number[]) => {
    layers.forEach((layer, i) => {
      const known = Number.isInteger(layer) && layer >= 0 && layer < layerCount;
      ensure(
        known && (i === 0 || layer === layers[i - 1] + 1),
        `layers ${layers} are no neighbours in order`,
      );
    });
  };
  /** A number in [0, 1) that depends on the question only. */
  const drawn = (label: string) => rng.fork(label).uniform();
  const loss = (label: string) => (plan: MergePlan) =>
    2 + plan.groups.reduce((sum, group) => sum + drawn(`${label} ${JSON.stringify(group)}`), 0);
  const all: Omit<Required<Evidence>, "layerCount" | "compatible"> = {
    similarity: symmetric(layerCount, 1, "similarity"),
    tokenStatistics: {
      layerCount,
      tokenCount: 100,
      cosine: symmetric(layerCount + 1, 1, "cosine"),
      angle: symmetric(layerCount + 1, 0, "angle"),
      norm: new Float64Array(layerCount + 1).fill(1),
    },
    evaluate: answered("evaluate", checkPlan, loss("evaluate")),
    evaluateDivergence: answered("evaluateDivergence", checkPlan, loss("evaluateDivergence")),
    evaluateRepaired: answered("evaluateRepaired", checkPlan, loss("evaluateRepaired")),
    evaluateFolded: answered("evaluateFolded", checkGroup, (layers) =>
      layers.length < 2 ? 2 : 2 + layers.length * drawn(`folded ${layers}`),
    ),
    compareOutputs: answered("compareOutputs", checkPlan, (plan) => 1 - loss("compareOutputs")(plan) / 100),
    remeasure: answered("remeasure", checkRemeasured, ({ plan, groups }) => {
      const all = symmetric(plan.groups.length, 1, `remeasure ${JSON.stringify(plan.groups)}`);
      const values = groups.flatMap((row) =>
        groups.map((column) => all.data[row * plan.groups.length + column]),
      );
      return tensor(Float64Array.from(values), [groups.length, groups.length]);
    }),
  };
  const had = Object.fromEntries(
    Object.entries(all).filter(([kind]) => kinds.includes(kind as EvidenceKind)),
  );
  return { layerCount, compatible, ...had };
}
