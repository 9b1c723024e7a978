import { LayerfoldError, tensor } from "@layerfold/core";
import { interpolateViridis } from "d3-scale-chromatic";
import { describe, expect, it } from "vitest";
import { heatmapSvg } from "./heatmap-svg.js";

/** Fill and title of each cell. */
const cells = (svg: string) =>
  [...svg.matchAll(/<rect[^>]*fill="([^"]+)"[^>]*><title>([^<]*)<\/title>/g)].map(([, fill, title]) => ({
    fill,
    title,
  }));

describe("heatmapSvg", () => {
  it("colours from the smallest to the largest value off the diagonal, and tells each on hover", () => {
    const matrix = tensor(new Float64Array([1, 0.1, 0.3, 0.1, 1, 0.2, 0.3, 0.2, 1]), [3, 3]);
    const drawn = cells(heatmapSvg(matrix, { title: "npib" }));
    expect(drawn).toHaveLength(9);
    expect(drawn[1]).toEqual({ fill: interpolateViridis(0), title: "layer 0 – layer 1: 0.100" });
    expect(drawn[2].fill).toBe(interpolateViridis(1));
    expect(drawn[5]).toEqual({ fill: interpolateViridis(0.5), title: "layer 1 – layer 2: 0.200" });
    expect(drawn[0].fill).not.toMatch(/^rgb/);
    expect(drawn[0].title).toBe("layer 0 – layer 0: 1.000");
  });

  it("reads strided matrices, keeps to a given domain, and leaves what is not finite uncoloured", () => {
    const matrix = tensor(new Float32Array([0, 1, Number.NaN, 4]), [2, 2]).transpose(1, 0);
    const drawn = cells(heatmapSvg(matrix, { title: "x", domain: [0, 4] }));
    expect(drawn.map(({ title }) => title.split(": ")[1])).toEqual(["0.000", "NaN", "1.000", "4.000"]);
    expect(drawn[1].fill).toBe("none");
    expect(drawn[3].fill).toBe(interpolateViridis(1));
  });

  it("draws matrices of one value, and refuses what is no matrix", () => {
    expect(cells(heatmapSvg(tensor(new Float64Array([5]), [1, 1]), { title: "x" }))).toHaveLength(1);
    expect(heatmapSvg(tensor(new Float64Array(9).fill(2), [3, 3]), { title: "x" })).not.toContain("NaN");
    expect(() => heatmapSvg(tensor(new Float64Array(3)), { title: "x" })).toThrow(LayerfoldError);
  });
});
