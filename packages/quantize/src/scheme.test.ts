import { describe, expect, it } from "vitest";
import { schemeOf } from "./scheme.js";

const dtype = "bfloat16";

describe("schemeOf", () => {
  it("reads methods, bits, group size and symmetry from the name, and gives each format its own grid", () => {
    expect(schemeOf("rtn-w4g64", { dtype })).toMatchObject({
      quantizer: { id: "rtn", options: { bits: 4, groupSize: 64, symmetric: true, scaleDtype: "bfloat16" } },
      transforms: [],
      format: "compressed-tensors",
      quantizedActivations: false,
      trueSequential: false,
    });
    expect(schemeOf("gptq-w3-asym", { dtype })).toMatchObject({
      quantizer: {
        id: "gptq",
        options: { bits: 3, groupSize: -1, symmetric: false, scaleDtype: "float16", smallestZeroPoint: 0 },
      },
      // GPTQModel 7.7 (models/loader.py) refuses `sym: false` in files of v1 that it did not write.
      format: "gptq_v2",
      trueSequential: true,
    });
    expect(schemeOf("gptq-w4", { dtype }).format).toBe("gptq");
    expect(schemeOf("gptq-w4-asym", { dtype, format: "gptq" }).quantizer.options.smallestZeroPoint).toBe(1);
    expect(schemeOf("awq-w4g128", { dtype })).toMatchObject({
      quantizer: {
        id: "rtn",
        options: { symmetric: false, rangeIncludesZero: false, scaleDtype: "float16" },
      },
      transforms: [{ id: "awq", options: { clip: true, rangeIncludesZero: false } }],
      format: "awq",
    });
    // GPTQ chooses its own errors, so AWQ does not clip below it. AWQ files hold no 3 bits.
    expect(schemeOf("gptq-awq-w4g64", { dtype }).transforms[0].options).toMatchObject({
      clip: false,
      groupSize: 64,
    });
    expect(schemeOf("awq-w3g64", { dtype }).format).toBe("compressed-tensors");
    expect(schemeOf("smoothquant-w8a8", { dtype: "float16" })).toMatchObject({
      quantizer: { id: "rtn", options: { bits: 8, groupSize: -1, scaleDtype: "float16" } },
      transforms: [{ id: "smoothquant" }],
      quantizedActivations: true,
    });
    expect(schemeOf("fp8", { dtype })).toMatchObject({
      quantizer: { id: "fp8" },
      quantizedActivations: true,
    });
  });

  it("lets options of the plug-ins win", () => {
    const set = { gptq: { damping: 0.05, activationOrder: true }, awq: { scaleSteps: 4 } };
    const scheme = schemeOf("gptq-awq-w4g64", { dtype, set });
    expect(scheme.quantizer.options).toMatchObject({ damping: 0.05, activationOrder: true, bits: 4 });
    expect(scheme.transforms[0].options.scaleSteps).toBe(4);
  });

  it("refuses what it does not know and what a format cannot hold", () => {
    const code = (name: string, format?: "gptq" | "awq" | "compressed-tensors") => {
      try {
        schemeOf(name, { dtype, ...(format && { format }) });
        return undefined;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    expect(["w4g128", "gptq-w5g128", "gptq-w4g", "awq-gptq-w4"].map((name) => code(name))).toEqual(
      Array(4).fill("SCHEME_UNKNOWN"),
    );
    expect([
      code("rtn-w3g64", "awq"),
      code("fp8", "gptq"),
      code("rtn-w8a8", "gptq"),
      code("rtn-w4a8"),
      code("rtn-w8a8g64"),
    ]).toEqual(Array(5).fill("SCHEME_FORMAT"));
  });
});
