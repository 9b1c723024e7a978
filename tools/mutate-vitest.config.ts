import { mergeConfig } from "vitest/config";
import config from "../vitest.config.js";

// One package's tests: those of the packages above it would reach nearly everything, at many times the cost. Tests that average over many
// thousands of samples would take minutes on instrumented code, and are left out: a score can only be higher with them.
const slow = [
  "packages/information/src/statistics.test.ts",
  "packages/information/src/compare-pairs.test.ts",
];

export default mergeConfig(
  { ...config, test: { ...config.test, include: [] } },
  {
    test: {
      // biome-ignore lint/suspicious/noUndeclaredEnvVars: no task of turbo
      include: [`packages/${process.env.MUTATED_PACKAGE}/{src,test}/**/*.test.ts`],
      exclude: slow,
    },
  },
);
