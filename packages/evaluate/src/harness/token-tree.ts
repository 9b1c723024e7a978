/** Tokens that several sequences have in common, or one alone. */
export interface TreeNode {
  readonly ids: readonly number[];
  readonly children: readonly TreeNode[];
  /** Tokens of this node and all below it. */
  readonly size: number;
  /** What is asked behind tokens of this node: `at` is the token's index in it. */
  readonly asked: readonly { readonly at: number; readonly target: number }[];
}

/** Something that is asked behind a token of a sequence. */
export interface Asked {
  readonly sequence: number;
  /** Index of the token that it is asked behind. */
  readonly position: number;
}

interface Building {
  /** Sequence and tokens of it, `from` to `to`. */
  sequence: number;
  from: number;
  to: number;
  parent: Building | undefined;
  children: Building[];
  asked: { at: number; target: number }[];
}

/**
 * The tree of sequences by what they begin with alike, in the order of their tokens.
 * @param sequences - none empty
 * @param targets - what is asked, known by its index
 */
export function tokenTree(
  sequences: readonly (readonly number[])[],
  targets: readonly Asked[],
): readonly TreeNode[] {
  const order = sequences
    .map((_, index) => index)
    .sort((a, b) => compare(sequences[a], sequences[b]) || a - b);
  const roots: Building[] = [];
  const leaves = new Array<Building>(sequences.length);
  /** The way to the sequence before. */
  let last: Building | undefined;
  let before: readonly number[] = [];
  for (const sequence of order) {
    const ids = sequences[sequence];
    const shared = commonLength(before, ids);
    while (last && last.from >= shared && last.from > 0) last = last.parent;
    if (shared === 0) last = undefined;
    if (last && shared < last.to) splitAt(last, shared, roots);
    // The upper part is where the new one goes on.
    const parent: Building | undefined = last && shared <= last.from ? last.parent : last;
    if (shared === ids.length && parent) {
      leaves[sequence] = parent;
      last = parent;
    } else {
      const node: Building = { sequence, from: shared, to: ids.length, parent, children: [], asked: [] };
      (parent?.children ?? roots).push(node);
      leaves[sequence] = node;
      last = node;
    }
    before = ids;
  }
  targets.forEach(({ sequence, position }, target) => {
    let node = leaves[sequence];
    while (position < node.from) node = node.parent!;
    node.asked.push({ at: position - node.from, target });
  });
  return roots.map((root) => finished(root, sequences));
}

/** Makes a node of a node's first part, above it. */
function splitAt(node: Building, at: number, roots: Building[]): void {
  const upper: Building = {
    sequence: node.sequence,
    from: node.from,
    to: at,
    parent: node.parent,
    children: [node],
    asked: [],
  };
  const siblings = node.parent?.children ?? roots;
  siblings[siblings.indexOf(node)] = upper;
  node.from = at;
  node.parent = upper;
}

function finished(node: Building, sequences: readonly (readonly number[])[]): TreeNode {
  const children = node.children.map((child) => finished(child, sequences));
  const ids = sequences[node.sequence].slice(node.from, node.to);
  return {
    ids,
    children,
    size: children.reduce((sum, child) => sum + child.size, ids.length),
    asked: node.asked,
  };
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = commonLength(a, b);
  return at < a.length && at < b.length ? a[at] - b[at] : a.length - b.length;
}
