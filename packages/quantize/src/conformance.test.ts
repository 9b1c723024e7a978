import type { Quantizer, WeightTransform } from "@layerfold/core";
import {
  type QuantizerCheckOptions,
  quantizerChecks,
  type WeightTransformCheckOptions,
  weightTransformChecks,
} from "@layerfold/testkit";
import { describe, it } from "vitest";
import { awq } from "./awq.js";
import { fp8 } from "./fp8.js";
import { gptq } from "./gptq.js";
import { rtn } from "./rtn.js";
import { smoothquant } from "./smoothquant.js";

// Half a step, and what a scale in float16 (11 bits) may be off over the 8 steps of 4 bits: 8 · 2⁻¹¹.
const half = { steps: 0.5 + 2 ** -8 };

const quantizers: Record<string, [make: () => Quantizer, options?: QuantizerCheckOptions]> = {
  rtn: [() => rtn({ groupSize: 16 }), half],
  "rtn, asymmetric": [() => rtn({ groupSize: 16, symmetric: false }), half],
  "rtn, AWQ's grid": [() => rtn({ groupSize: -1, symmetric: false, rangeIncludesZero: false }), half],
  // 128 steps at float32's 24 bits.
  "rtn, 8 bits": [() => rtn({ bits: 8, groupSize: -1, scaleDtype: "float32" }), { steps: 0.5 + 2 ** -12 }],
  gptq: [() => gptq({ groupSize: 16 })],
  "gptq, by activation order": [() => gptq({ groupSize: 16, activationOrder: true, symmetric: false })],
  "gptq, static groups": [() => gptq({ groupSize: 16, activationOrder: true, staticGroups: true })],
  fp8: [() => fp8()],
};

describe.each(Object.entries(quantizers))("%s", (_, [make, options]) => {
  for (const { name, run } of quantizerChecks(make, options)) it(name, run);
});

const transforms: Record<string, [make: () => WeightTransform, options?: WeightTransformCheckOptions]> = {
  smoothquant: [() => smoothquant()],
  "smoothquant, inner": [() => smoothquant({ inner: true })],
  "awq without clipping": [() => awq({ groupSize: 16, clip: false })],
  awq: [() => awq({ groupSize: 16 }), { preserves: false }],
};

describe.each(Object.entries(transforms))("%s", (_, [make, options]) => {
  for (const { name, run } of weightTransformChecks(make, options)) it(name, run);
});
