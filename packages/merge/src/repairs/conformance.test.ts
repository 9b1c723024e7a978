import type { Repair } from "@layerfold/core";
import { type RepairCheckOptions, repairChecks } from "@layerfold/testkit";
import { describe, it } from "vitest";
import { channelScale } from "./channel-scale.js";
import { componentFold } from "./component-fold.js";
import { concatenate } from "./concatenate.js";
import { hadamardScale } from "./hadamard-scale.js";
import { linear } from "./linear.js";
import { magnitude } from "./magnitude.js";
import { reconstruct } from "./reconstruct.js";
import { residualLinear } from "./residual-linear.js";
import { searchedWeights } from "./searched-weights.js";

const repairs: Record<string, [make: () => Repair, options?: RepairCheckOptions]> = {
  "channel-scale": [() => channelScale()],
  "component-fold": [() => componentFold()],
  "component-fold, joint and learning": [
    () =>
      componentFold({
        ...{
          heads: "joint",
          recallHeads: 1,
          choiceEvery: 2,
          inputMapRidge: 0.1,
          ridge: [1e-3, 1e-2],
          heldOutEvery: 3,
        },
        ...{ refineEpochs: 2, refineTokens: 32, refineBehind: 1, refitSingles: false },
      }),
  ],
  concatenate: [() => concatenate()],
  "concatenate by leverage": [() => concatenate({ importance: "leverage" })],
  "hadamard-scale": [() => hadamardScale()],
  linear: [() => linear()],
  "linear by cosine": [() => linear({ objective: "cosine", steps: 3 })],
  // The error is that of the stream times the factor that the blocks behind it are divided by.
  magnitude: [() => magnitude(), { errorOfStream: false }],
  reconstruct: [() => reconstruct({ ridge: [1e-3, 1e-1], heldOutEvery: 3 })],
  "residual-linear": [() => residualLinear()],
  "searched-weights": [() => searchedWeights({ ratios: [1, 0.5, 0] })],
};

describe.each(Object.entries(repairs))("%s", (_, [make, options]) => {
  for (const { name, run } of repairChecks(make, options)) it(name, run);
});
