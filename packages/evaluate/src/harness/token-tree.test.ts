import { seededRng } from "@layerfold/linalg";
import { expect, it } from "vitest";
import { type TreeNode, tokenTree } from "./token-tree.js";

it("holds every sequence and asks behind the right token, whatever begins alike", () => {
  const rng = seededRng(1);
  for (let round = 0; round < 200; round++) {
    const sequences = Array.from({ length: 1 + rng.integer(12) }, () =>
      Array.from({ length: 1 + rng.integer(6) }, () => rng.integer(2)),
    );
    const targets = sequences.flatMap((ids, sequence) =>
      ids.map((_, position) => ({ sequence, position })).filter(() => rng.integer(2) === 0),
    );
    const seen = new Set<string>();
    const found = new Map<number, string>();
    let tokens = 0;
    const walk = (node: TreeNode, before: readonly number[]) => {
      expect(node.ids.length).toBeGreaterThan(0);
      tokens += node.ids.length;
      node.ids.forEach((_, i) => {
        const text = [...before, ...node.ids.slice(0, i + 1)].join();
        expect(seen.has(text), "each beginning stands once").toBe(false);
        seen.add(text);
      });
      for (const { at, target } of node.asked) {
        expect(found.has(target)).toBe(false);
        found.set(target, [...before, ...node.ids.slice(0, at + 1)].join());
      }
      for (const child of node.children) walk(child, [...before, ...node.ids]);
    };
    const roots = tokenTree(sequences, targets);
    for (const root of roots) walk(root, []);
    expect(tokens).toBe(roots.reduce((sum, { size }) => sum + size, 0));
    const beginnings = sequences.flatMap((ids) => ids.map((_, i) => ids.slice(0, i + 1).join()));
    expect(seen).toEqual(new Set(beginnings));
    targets.forEach(({ sequence, position }, target) => {
      expect(found.get(target)).toBe(sequences[sequence].slice(0, position + 1).join());
    });
  }
});
