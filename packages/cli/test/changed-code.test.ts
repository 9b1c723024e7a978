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
    for (const part of ["package.json", "bin", "dist", "node_modules"]) {
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
    at("grid.yaml"),
    JSON.stringify({
      ...{ model: checkpoint, calibration: `${join(data, "calibration.jsonl")}[0:8]` },
      ...{ evaluate: `${join(data, "validation.jsonl")}[0:2]`, layers: [15] },
      ...{ measures: ["cosine", "linear-cka"], planners: ["best-adjacent-pair"] },
      ...{ strategies: ["slerp", at("mine.mjs")], repairs: ["none", "channel-scale"] },
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

it("changed code makes again what it makes, and nothing else", () => {
  mkdirSync(at("out"));
  const first = ablate("out/grid");
  expect(first.tasks.found).toBe(0);
  const names = Object.keys(first.figures);
  expect(names).toHaveLength(8);
  let last = first.figures;

  const ofStrategy = (id: string) => names.filter((name) => name.includes(` ${id} `));
  /** Plans that the two measures come to. */
  const plans = new Set([first.figures["cosine slerp null"], first.figures["linear-cka slerp null"]]).size;

  /** Runs again: these cells are folded anew, no others, and their figures change. */
  const again = (cells: readonly string[]) => {
    const { figures, kinds } = ablate("out/grid");
    // What folds to the same weights is measured once.
    const measured = new Set(cells.map((name) => figures[name])).size;
    expect(kinds).toEqual({ "fold-facts": (plans * cells.length) / 2, "measure-text": measured });
    expect(names.filter((name) => figures[name] !== last[name])).toEqual(cells);
    last = figures;
  };

  // One constant in one strategy of ours.
  change(
    "packages/merge/dist/strategies/slerp.js",
    "[Math.sin((1 - t) * angle) / sine,",
    "[Math.sin((1 - t) * angle) / sine * 1.1,",
  );
  again(ofStrategy("slerp"));

  // One in a module that a plug-in by path imports.
  change("constant.mjs", "kept = 0", "kept = 1");
  again(ofStrategy("mine"));

  // One in a repair.
  change(
    "packages/merge/dist/repairs/channel-scale.js",
    "groupByGroup(options,",
    "groupByGroup({ ...options, ridge: [0.5] },",
  );
  again(names.filter((name) => name.endsWith(" channel-scale")));

  // One in a measure: its matrix is made again, its plan, and what another plan asks for; the other measure's cells stay.
  change("packages/similarity/dist/cosine.js", "(value) => value)", "(value) => value ** 3)");
  const { figures, kinds } = ablate("out/grid");
  expect(kinds).toMatchObject({ similarity: 1, plan: 1 });
  expect(kinds["fold-facts"] ?? 0).toBeLessThanOrEqual(4);
  const others = names.filter((name) => name.startsWith("linear-cka"));
  for (const name of others) expect([name, figures[name]]).toEqual([name, last[name]]);

  const fresh = ablate("out/fresh");
  expect(fresh.tasks.found).toBe(0);
  expect(figures).toEqual(fresh.figures);
  expect(readFileSync(at("out/grid/ablation.csv"))).toEqual(readFileSync(at("out/fresh/ablation.csv")));
});
