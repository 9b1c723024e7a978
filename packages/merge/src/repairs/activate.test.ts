import type { Activation } from "@layerfold/core";
import { expect, it } from "vitest";
import { activate } from "./activate.js";

// Values of torch.nn.functional (torch 2.15, float64) at −2, −0.5, 0.25 and 3.
const known: Record<Activation, readonly number[]> = {
  silu: [-0.2384058440442351, -0.1887703343990727, 0.1405441252, 2.8577223804673],
  quick_gelu: [-0.06434137685579186, -0.1496115633936199, 0.1511996499, 2.9819286903],
  gelu: [-0.04550026389635842, -0.1542687694, 0.1496765893, 2.9959503058],
  gelu_tanh: [-0.0454023, -0.154286, 0.1496749, 2.9963627],
  relu: [0, 0, 0.25, 3],
  relu_squared: [0, 0, 0.0625, 9],
};

it.each(Object.keys(known) as Activation[])("%s: value and derivative", (activation) => {
  const points = [-2, -0.5, 0.25, 3];
  const value = Float32Array.from(points);
  const slope = activate(value, activation);
  const step = 1 / 1024;
  points.forEach((z, i) => {
    expect(value[i]).toBeCloseTo(known[activation][i], 5);
    const beside = Float32Array.of(z - step, z + step);
    activate(beside, activation);
    expect(slope[i]).toBeCloseTo((beside[1] - beside[0]) / (2 * step), 3);
  });
});
