import { mergeConfig } from "vitest/config";
import config from "../vitest.config.js";

// One package's tests: those of the packages above it would reach nearly everything, at many times the cost.
export default mergeConfig(
  { ...config, test: { ...config.test, include: [] } },
  // biome-ignore lint/suspicious/noUndeclaredEnvVars: no task of turbo
  { test: { include: [`packages/${process.env.MUTATED_PACKAGE}/{src,test}/**/*.test.ts`] } },
);
