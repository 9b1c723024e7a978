import fc from "fast-check";
import { type JsonTree, parseTree, placesOf, put, writeTree } from "./json-tree.js";

/** One change of a JSON document. Places are numbers that are taken modulo what there is. */
export type JsonMutation =
  | { readonly op: "replace"; readonly place: number; readonly text: string }
  | { readonly op: "replace-like"; readonly place: number; readonly text: string }
  | { readonly op: "nest"; readonly place: number; readonly depth: number; readonly object: boolean }
  | { readonly op: "lengthen"; readonly place: number; readonly times: number }
  | { readonly op: "scale"; readonly place: number; readonly by: number; readonly plus: number }
  | { readonly op: "copy"; readonly place: number; readonly from: number }
  | { readonly op: "remove"; readonly place: number }
  | { readonly op: "add"; readonly place: number; readonly key: string; readonly text: string }
  | { readonly op: "rename"; readonly place: number; readonly key: string }
  | { readonly op: "twice"; readonly place: number; readonly text: string };

const numbers = [
  ..."0 1 -1 -0 2 3 0.5 -0.5 1.5 7 127 128 255 256 32767 65535 65536 1e-320 1e-8 1e21 1e100 1e308 1e400 -1e400".split(
    " ",
  ),
  ...[31, 32, 53, 63, 64].flatMap((bits) => [
    `${2n ** BigInt(bits)}`,
    `${2n ** BigInt(bits) - 1n}`,
    `-${2n ** BigInt(bits)}`,
  ]),
];
/** Names that an object has without being given them, and paths that lead elsewhere. */
export const hostileNames = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "length",
  "then",
  "",
  " ",
  ".",
  "..",
  "../x",
  "../../x",
  "/",
  "/dev/null",
  "C:\\x",
  "a/b",
  "a\\b",
  "\0",
  "\n",
  "\u{feff}",
  "\u{1f600}",
  "NaN",
  "Infinity",
  "0",
  "-1",
  "1e999",
  "auto",
  "null",
  "(a+)+$",
  "[",
  "(?<",
  "\\",
  "{{",
];
const strings = [...hostileNames.map((name) => JSON.stringify(name)), '"\\ud800"', `"${"a".repeat(70_000)}"`];
const wholes = [
  "null",
  "true",
  "false",
  "[]",
  "{}",
  "[[]]",
  "[null]",
  "[0]",
  '[""]',
  '{"__proto__":null}',
  '{"__proto__":{"x":1},"constructor":{}}',
  '{"length":-1}',
  `[${"0,".repeat(9_999)}0]`,
];

const number = fc.constantFrom(...numbers);
const string = fc.constantFrom(...strings);
const anything = fc.oneof(
  { weight: 4, arbitrary: number },
  { weight: 2, arbitrary: string },
  { weight: 3, arbitrary: fc.constantFrom(...wholes) },
  { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
);
const key = fc.oneof(fc.constantFrom(...hostileNames), fc.string());
const place = fc.nat(1_000_000);

export const jsonMutation: fc.Arbitrary<JsonMutation> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ op: fc.constant("replace" as const), place, text: anything }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("replace-like" as const),
      place,
      text: fc.oneof(number, string, fc.constantFrom(...wholes)),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("scale" as const),
      place,
      by: fc.constantFrom(1, 2, 0.5, -1, 1024, 1e9),
      plus: fc.constantFrom(0, 1, -1, 8),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("copy" as const), place, from: place }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("remove" as const), place }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("add" as const), place, key, text: anything }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("rename" as const), place, key }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("twice" as const), place, text: anything }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("nest" as const),
      place,
      depth: fc.constantFrom(1, 2, 100, 5_000),
      object: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("lengthen" as const),
      place,
      times: fc.constantFrom(2, 3, 100, 10_000),
    }),
  },
);

/** A document with changes. @throws SyntaxError where the text is no JSON */
export function mutateJson(text: string, mutations: readonly JsonMutation[]): string {
  let tree = parseTree(text);
  for (const mutation of mutations) tree = applied(tree, mutation);
  return writeTree(tree);
}

function applied(root: JsonTree, mutation: JsonMutation): JsonTree {
  const places = placesOf(root);
  const pick = (wanted: (tree: JsonTree) => boolean) => {
    const found = places.filter(({ tree }) => wanted(tree));
    return found.length === 0 ? undefined : found[mutation.place % found.length];
  };
  const leaf = (text: string): JsonTree => ({ kind: "leaf", text });
  const any = places[mutation.place % places.length];
  switch (mutation.op) {
    case "replace":
      return put(root, any, leaf(mutation.text));
    case "replace-like": {
      // A number for a number, text for text: such values come further than those of another type.
      const kind = sort(mutation.text);
      const chosen = pick((tree) => sort(tree.kind === "leaf" ? tree.text : tree.kind) === kind);
      return chosen ? put(root, chosen, leaf(mutation.text)) : root;
    }
    case "nest": {
      const { depth, object } = mutation;
      const [open, close] = object ? ['{"a":', "}"] : ["[", "]"];
      return put(root, any, leaf(open.repeat(depth) + writeTree(any.tree) + close.repeat(depth)));
    }
    case "lengthen": {
      const chosen = pick(({ kind, ...tree }) => kind === "list" || isText(tree as JsonTree));
      if (!chosen) return root;
      // As far as a megabyte or so.
      const written = writeTree(chosen.tree).slice(1, -1);
      const times = Math.min(mutation.times, Math.ceil(1e6 / Math.max(1, written.length)));
      const [mark, close, between] = chosen.tree.kind === "list" ? ["[", "]", ","] : ['"', '"', ""];
      return put(root, chosen, leaf(mark + Array(times).fill(written).filter(Boolean).join(between) + close));
    }
    case "scale": {
      const chosen = pick((tree) => tree.kind === "leaf" && sort(tree.text) === "number");
      if (chosen?.tree.kind !== "leaf") return root;
      return put(root, chosen, leaf(`${Number(chosen.tree.text) * mutation.by + mutation.plus}`));
    }
    case "copy":
      return put(root, any, leaf(writeTree(places[mutation.from % places.length].tree)));
    case "remove": {
      const { parent, index } = any;
      if (parent?.kind === "list") parent.items.splice(index, 1);
      if (parent?.kind === "object") parent.entries.splice(index, 1);
      return root;
    }
    default: {
      const object = pick((tree) => tree.kind === "object")?.tree;
      if (object?.kind !== "object") return root;
      const entry = object.entries[mutation.place % Math.max(1, object.entries.length)];
      if (mutation.op === "add") object.entries.push([mutation.key, leaf(mutation.text)]);
      else if (entry && mutation.op === "rename") entry[0] = mutation.key;
      else if (entry && mutation.op === "twice") object.entries.push([entry[0], leaf(mutation.text)]);
      return root;
    }
  }
}

function isText(tree: JsonTree): boolean {
  return tree.kind === "leaf" && tree.text.startsWith('"');
}

function sort(text: string): string {
  if (text === "list" || text.startsWith("[")) return "list";
  if (text === "object" || text.startsWith("{")) return "object";
  if (text.startsWith('"')) return "text";
  return /^[-\d]/.test(text) ? "number" : "word";
}
