import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("./packages/", import.meta.url));

// Tests run against sources, so that a stale build can never make them green.
const alias = Object.fromEntries(
  readdirSync(packages).map((name) => [
    name === "cli" ? "layerfold" : `@layerfold/${name}`,
    `${packages}${name}/src/index.ts`,
  ]),
);

export default defineConfig({
  resolve: { alias },
  test: {
    include: ["packages/*/{src,test}/**/*.test.ts", "examples/*/*.test.ts", "tools/*.test.ts"],
    // A test that hangs fails; one on a busy machine does not.
    testTimeout: 300_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: 2,
  },
});
