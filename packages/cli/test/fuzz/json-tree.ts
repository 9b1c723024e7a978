/**
 * JSON that can be written in ways in which no JavaScript value can: keys that stand twice, `__proto__` as an ordinary key, numbers as they
 * are spelled.
 */
export type JsonTree = JsonLeaf | JsonList | JsonObject;
/** As it is written, quotes included. */
export type JsonLeaf = { readonly kind: "leaf"; text: string };
export type JsonList = { readonly kind: "list"; items: JsonTree[] };
export type JsonObject = { readonly kind: "object"; entries: [key: string, value: JsonTree][] };

/** @throws SyntaxError */
export function parseTree(text: string): JsonTree {
  return treeOf(JSON.parse(text));
}

export function treeOf(value: unknown): JsonTree {
  if (Array.isArray(value)) return { kind: "list", items: value.map(treeOf) };
  if (typeof value === "object" && value !== null) {
    return { kind: "object", entries: Object.entries(value).map(([key, inner]) => [key, treeOf(inner)]) };
  }
  return { kind: "leaf", text: JSON.stringify(value) };
}

export function writeTree(tree: JsonTree): string {
  if (tree.kind === "leaf") return tree.text;
  if (tree.kind === "list") return `[${tree.items.map(writeTree).join(",")}]`;
  return `{${tree.entries.map(([key, value]) => `${JSON.stringify(key)}:${writeTree(value)}`).join(",")}}`;
}

/** A place in a tree, for looking and for putting something else there. */
export interface Place {
  readonly tree: JsonTree;
  /** Absent at the root. */
  readonly parent?: JsonList | JsonObject;
  /** Among the parent's items or entries. */
  readonly index: number;
}

/** Every place, the root first. */
export function placesOf(root: JsonTree): Place[] {
  const places: Place[] = [{ tree: root, index: 0 }];
  // The list grows while it is walked.
  for (const { tree } of places) {
    if (tree.kind === "list")
      tree.items.forEach((inner, index) => {
        places.push({ tree: inner, parent: tree, index });
      });
    if (tree.kind === "object")
      tree.entries.forEach(([, inner], index) => {
        places.push({ tree: inner, parent: tree, index });
      });
  }
  return places;
}

/** Puts a tree in a place. @returns the root, which is another one where the place was the root */
export function put(root: JsonTree, { parent, index }: Place, tree: JsonTree): JsonTree {
  if (!parent) return tree;
  if (parent.kind === "list") parent.items[index] = tree;
  else parent.entries[index][1] = tree;
  return root;
}
