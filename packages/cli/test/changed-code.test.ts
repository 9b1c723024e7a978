import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkpoint, data } from "@layerfold/foldling";
import { afterAll, beforeAll, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "layerfold-changed-"));
const at = (...path: string[]) => join(scratch, ...path);
afterAll(() => rmSync(scratch, { recursive: true }));

/** The packages as they were built, in a place where a test may change them. */
beforeAll(() => {
  for (const name of ["node_modules", "models"]) symlinkSync(join(root, name), at(name));
  for (const name of readdirSync(join(root, "packages"))) {
    for (const part of ["package.json", "bin", "dist", "tasks", "node_modules"]) {
      const from = join(root, "packages", name, part);
      if (!existsSync(from)) continue;
      // Links among the packages lead from copy to copy.
      cpSync(from, at("packages", name, part), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (path) => !/\.(test\.js|d\.ts)$/.test(path),
        force: true,
      });
    }
  }
  writeFileSync(
    at("mine.mjs"),
    `import { kept } from "./constant.mjs";
    export default { kind: "strategy", id: "mine", options: {}, merge: (blocks) => ({ ...blocks[kept], layer: blocks[0].layer }) };`,
  );
  writeFileSync(at("constant.mjs"), "export const kept = 0;\n");
  writeFileSync(
    at("scaled.mjs"),
    `const factor = 1.1;
    const scaled = ({ data, ...rest }) => ({ data: data.map((value) => factor * value), ...rest });
    export default { kind: "repair", id: "scaled", options: {}, async *fit(model, plan, folded) {
      for (let index = 0; index < plan.groups.length; index++) {
        const { tensors, ...block } = await folded(index);
        const down = scaled(tensors.get("mlp.down"));
        yield { index, block: { ...block, tensors: new Map([...tensors, ["mlp.down", down]]) } };
      }
    } };`,
  );
  writeFileSync(
    at("as-long.mjs"),
    `const wanted = 0.8;
    export default {
      kind: "similarity", id: "as-long", options: {},
      traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: ["rotation"] },
      prepare: ({ data }) => Math.hypot(...data),
      compare: (a, b) => 1 - Math.abs(wanted - Math.min(a, b) / Math.max(a, b)),
    };`,
  );
  writeFileSync(
    at("grid.yaml"),
    JSON.stringify({
      ...{ model: checkpoint, calibration: `${join(data, "calibration.jsonl")}[0:8]` },
      ...{ evaluate: `${join(data, "validation.jsonl")}[0:2]`, layers: [15] },
      ...{ measures: ["cosine", at("as-long.mjs")], planners: ["best-adjacent-pair"] },
      ...{ strategies: ["slerp", at("mine.mjs")], repairs: ["channel-scale", at("scaled.mjs")] },
    }),
  );
});

function change(file: string, from: string, to: string): void {
  const text = readFileSync(at(file), "utf8");
  expect(text).toContain(from);
  writeFileSync(at(file), text.replace(from, to));
}

/** Runs the grid. @returns its cells by their names, what was made, and the kinds of that */
function ablate(out: string) {
  const before = new Set(artefacts(out));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      at("packages", "cli", "bin", "layerfold.js"),
      "ablate",
      at("grid.yaml"),
      "--out",
      at(out),
      "--json",
      "--quiet",
    ],
    { encoding: "utf8" },
  );
  expect([status, stderr]).toEqual([0, ""]);
  const { cells, tasks } = JSON.parse(stdout);
  const figures = Object.fromEntries(
    cells.map(({ measure, strategy, repair, ...figures }: any) => [
      `${measure} ${strategy} ${repair}`,
      figures.perplexity,
    ]),
  ) as Record<string, number>;
  const kinds: Record<string, number> = {};
  for (const name of artefacts(out).filter((name) => !before.has(name))) {
    const [kind] = name.split("/");
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  return { figures, tasks, kinds };
}

function artefacts(out: string): string[] {
  const folder = at(`${out}.work`, "artefacts");
  try {
    return readdirSync(folder).flatMap((kind) =>
      readdirSync(join(folder, kind)).map((name) => `${kind}/${name}`),
    );
  } catch {
    return [];
  }
}

// Eight processes one after the other, which a busy machine may need long for.
it("changed code makes again what it makes, and nothing else", { timeout: 600_000 }, () => {
  mkdirSync(at("out"));
  const first = ablate("out/grid");
  expect(first.tasks.found).toBe(0);
  const names = Object.keys(first.figures);
  expect(names).toHaveLength(8);
  let last = first.figures;

  const cellsOf = (id: string) => names.filter((name) => name.split(" ").includes(id));

  /** Runs again: these cells are folded anew, no others, and their figures change; and of each kind in `more` one thing is made. */
  const again = (cells: readonly string[], ...more: string[]) => {
    const { figures, kinds } = ablate("out/grid");
    expect(kinds).toEqual({
      ...Object.fromEntries(more.map((kind) => [kind, 1])),
      ...{ "fold-facts": cells.length, "measure-text": cells.length },
    });
    expect(names.filter((name) => figures[name] !== last[name])).toEqual(cells);
    last = figures;
  };

  // One constant in one strategy of ours.
  change(
    "packages/merge/dist/strategies/slerp.js",
    "[Math.sin((1 - t) * angle) / sine,",
    "[Math.sin((1 - t) * angle) / sine * 1.1,",
  );
  again(cellsOf("slerp"));

  // One in a module that a plug-in by path imports.
  change("constant.mjs", "kept = 0", "kept = 1");
  again(cellsOf("mine"));

  // One in a repair of ours.
  change(
    "packages/merge/dist/repairs/channel-scale.js",
    "groupByGroup(options,",
    "groupByGroup({ ...options, ridge: [0.5] },",
  );
  again(cellsOf("channel-scale"));

  // One in a repair by path.
  change("scaled.mjs", "factor = 1.1", "factor = 1.2");
  again(cellsOf("scaled"));

  // One in a measure by path, which then chooses other layers.
  change("as-long.mjs", "wanted = 0.8", "wanted = 0.7");
  again(cellsOf("as-long"), "similarity", "plan");

  // One in a measure of ours: its matrix is made again, its plan, and what another plan asks for; the other measure's cells stay.
  change("packages/similarity/dist/cosine.js", "(value) => value)", "(value) => value ** 3)");
  const { figures, kinds } = ablate("out/grid");
  expect(kinds).toMatchObject({ similarity: 1, plan: 1 });
  expect(kinds["fold-facts"] ?? 0).toBeLessThanOrEqual(4);
  for (const name of cellsOf("as-long")) expect([name, figures[name]]).toEqual([name, last[name]]);

  const fresh = ablate("out/fresh");
  expect(fresh.tasks.found).toBe(0);
  expect(figures).toEqual(fresh.figures);
  expect(readFileSync(at("out/grid/ablation.csv"))).toEqual(readFileSync(at("out/fresh/ablation.csv")));
});
