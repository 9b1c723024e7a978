import type { PassContext, TokenBranch, TokenMemory, TreeModel, TreeTarget } from "@layerfold/core";
import type { TreeNode } from "./token-tree.js";

/** Tokens that are read at once: enough to keep the processor busy, few enough that attention does not look at much that it must not see. */
const together = 512;
/** A common beginning that is shorter than this is read anew with every part of its tree, which costs less than a pass of its own. */
const worthRemembering = 64;

/** What stands before some nodes: what is remembered, and a little that is read with each part anew. */
interface Before {
  readonly memory?: TokenMemory | undefined;
  /** Branch of the memory that they go on after. */
  readonly after: number;
  readonly ids: readonly number[];
}

/** Reads a tree part by part. @param wanted - the token that a target is */
export function treeReader(
  model: TreeModel,
  ctx: PassContext,
  found: (target: number, logProbability: number, best: number) => void,
  wanted: (target: number) => number,
) {
  /** What is read in the next call. */
  interface Part {
    branches: TokenBranch[];
    targets: TreeTarget[];
    asked: number[];
  }

  async function call({ branches, targets, asked }: Part, memory: TokenMemory | undefined, remember = false) {
    const reading = await model.read({ after: memory, branches, targets, remember }, ctx);
    const { logProbabilities, best } = reading.scores;
    asked.forEach((target, i) => {
      found(target, logProbabilities[i], best[i]);
    });
    return reading.memory;
  }

  /** Writes a node and all below it into a part. */
  function add(part: Part, node: TreeNode, after: number, remembered: number, from = 0): void {
    const branch = part.branches.length;
    part.branches.push({ after, ids: from > 0 ? node.ids.slice(from) : node.ids });
    for (const { at, target } of node.asked) {
      if (at < from) continue;
      part.targets.push({ branch, position: at - from, id: wanted(target) });
      part.asked.push(target);
    }
    for (const child of node.children) add(part, child, remembered + branch, remembered);
  }

  async function read(nodes: readonly TreeNode[], before: Before = { after: -1, ids: [] }): Promise<void> {
    const { memory, after, ids } = before;
    const remembered = memory?.branches ?? 0;
    const begin = (): Part => ({
      branches: ids.length > 0 ? [{ after, ids }] : [],
      targets: [],
      asked: [],
    });
    const from = ids.length > 0 ? remembered : after;
    let part = begin();
    let size = ids.length;
    const flush = async () => {
      if (part.branches.length > (ids.length > 0 ? 1 : 0)) await call(part, memory);
      part = begin();
      size = ids.length;
    };
    for (const node of nodes) {
      if (ids.length + node.size <= together) {
        if (size + node.size > together) await flush();
        add(part, node, from, remembered);
        size += node.size;
        continue;
      }
      const asksNothing = node.asked.length === 0;
      if (asksNothing && node.children.length > 0 && ids.length + node.ids.length < worthRemembering) {
        await read(node.children, { memory, after, ids: [...ids, ...node.ids] });
      } else await readLong(node, before);
    }
    await flush();
  }

  /** A node whose tree is too large for one part: the node itself piece by piece, then what is below it. */
  async function readLong(node: TreeNode, { memory, after, ids }: Before): Promise<void> {
    const whole: TreeNode = {
      ...node,
      ids: [...ids, ...node.ids],
      asked: node.asked.map(({ at, target }) => ({ at: at + ids.length, target })),
    };
    let known = memory;
    let last = after;
    for (let from = 0; from < whole.ids.length; from += together) {
      const to = Math.min(whole.ids.length, from + together);
      const part: Part = {
        branches: [{ after: last, ids: whole.ids.slice(from, to) }],
        targets: [],
        asked: [],
      };
      for (const { at, target } of whole.asked) {
        if (at < from || at >= to) continue;
        part.targets.push({ branch: 0, position: at - from, id: wanted(target) });
        part.asked.push(target);
      }
      last = known?.branches ?? 0;
      known = await call(part, known, to < whole.ids.length || whole.children.length > 0);
    }
    await read(node.children, { memory: known, after: last, ids: [] });
  }

  return { read };
}
