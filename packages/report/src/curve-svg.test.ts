import { describe, expect, it } from "vitest";
import { curveSvg } from "./curve-svg.js";

const point = (x: number, y: number) => ({ x, y, title: `at ${x}` });
const series = (...points: ReturnType<typeof point>[]) => [{ label: "one", color: 0, points }];
const circles = (svg: string) =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
const options = { title: "t", xLabel: "x", yLabel: "y" };

describe("curveSvg", () => {
  it("a log axis gives equal factors equal heights", () => {
    const svg = curveSvg({
      ...options,
      yScale: "log",
      series: series(point(0, 1), point(1, 10), point(2, 100)),
    });
    const [a, b, c] = circles(svg);
    expect(a[1] - b[1]).toBeCloseTo(b[1] - c[1], 1);
    expect(b[0] - a[0]).toBeCloseTo(c[0] - b[0], 1);
  });

  it("keeps every mark inside the picture, whatever the range", () => {
    for (const yScale of ["linear", "log"] as const) {
      for (const ys of [
        [1, 1],
        [1, 1.004],
        [1, 4.3],
        [1, 33_000],
        [1e-3, 1e12],
      ]) {
        const svg = curveSvg({ ...options, yScale, series: series(point(0, ys[0]), point(7, ys[1])) });
        const [, width, height] = /viewBox="0 0 ([\d.]+) ([\d.]+)"/.exec(svg)!.map(Number);
        for (const [x, y] of circles(svg)) {
          expect(x > 0 && x < width && y > 30 && y < height, `${yScale} ${ys}`).toBe(true);
        }
        const ticks = [...svg.matchAll(/<line [^>]*class="lf-line"/g)].length;
        expect(ticks >= 2 && ticks <= 12, `${yScale} ${ys}: ${ticks} ticks`).toBe(true);
      }
    }
  });

  it("leaves out points that are not finite, and says so", () => {
    const svg = curveSvg({
      ...options,
      yScale: "log",
      series: series(point(0, 1), point(1, Number.NaN), point(2, 0)),
    });
    expect(circles(svg)).toHaveLength(1);
    expect(svg).toContain("2 points that are not finite are left out");
  });

  it("draws error bars, a reference line and a legend, with their texts escaped", () => {
    const svg = curveSvg({
      ...options,
      reference: { y: 0.25, label: "chance" },
      series: [{ label: "a<b", color: 1, dashed: true, points: [{ ...point(1, 0.5), error: 0.1 }] }],
    });
    expect(svg).toContain("a&#60;b");
    expect(svg).toContain(">chance<");
    expect(svg).toContain('stroke-opacity="0.6"');
    expect(svg).not.toContain("a<b");
  });
});
