import { readTextFile } from "@layerfold/checkpoint";
import { LayerfoldError, suggestion, type z } from "@layerfold/core";
import { type Document, isMap, isNode, isPair, LineCounter, type Node, parseDocument } from "yaml";

/** Where a value stands: `FILE:LINE:COLUMN, a.path.to.it`; outside a file what the caller would know it by, if there is such a thing. */
export type Locate = (path: readonly PropertyKey[]) => string | undefined;

/** A YAML or JSON file, and where in it things stand. */
export interface YamlFile {
  readonly value: unknown;
  readonly locate: (path: readonly PropertyKey[]) => string;
  /** The place of a mapping's key. */
  readonly locateKey: (path: readonly PropertyKey[]) => string;
}

/** Aliases that one file may resolve to; what nests them to make a small file large is refused. */
const mostAliases = 100;

/**
 * Reads a YAML file; JSON is one.
 * @throws RECIPE_INVALID with line and column, and what `readTextFile` throws
 */
export async function readYaml(file: string): Promise<YamlFile> {
  const text = await readTextFile(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  // A JSON file may be indented by tabs.
  const [problem] = isJson(text) ? [] : [...document.errors, ...document.warnings];
  if (problem) throw invalid(problem.message, at(problem.pos[0]), problem);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: mostAliases });
  } catch (cause) {
    throw invalid(`cannot read the recipe: ${(cause as Error).message}`, file, cause);
  }
  const placed = (path: readonly PropertyKey[], node: Node | undefined) => {
    const name = path.length > 0 ? `, ${path.map(String).join(".")}` : "";
    return `${node?.range ? at(node.range[0]) : file}${name}`;
  };
  return {
    value,
    locate: (path) => placed(path, nodeAt(document, path)),
    locateKey: (path) => placed(path, keyAt(document, path)),
  };
}

/** The node of a value, or of the nearest that there is above it. */
function nodeAt(document: Document, path: readonly PropertyKey[]): Node | undefined {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
    if (isNode(node)) return node;
  }
  return undefined;
}

function keyAt(document: Document, path: readonly PropertyKey[]): Node | undefined {
  const parent = nodeAt(document, path.slice(0, -1));
  const pair =
    isMap(parent) && parent.items.find((item) => isPair(item) && String(item.key) === String(path.at(-1)));
  return pair && isNode(pair.key) ? pair.key : parent;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * A file's value by its schema.
 * @param known - names of the keys of the mapping at a path, for suggestions
 * @returns the value, or all that is wrong with it: RECIPE_INVALID each
 */
export function checkedBy<S extends z.ZodType>(
  schema: S,
  { value, locate, locateKey }: YamlFile,
  known: (path: readonly PropertyKey[]) => readonly string[],
): { readonly value: z.output<S> } | { readonly problems: readonly LayerfoldError[] } {
  const result = schema.safeParse(value);
  if (result.success) return { value: result.data };
  const problems = result.error.issues
    .flatMap((issue) => told(issue, []))
    .flatMap((issue) => {
      const { path } = issue;
      if (issue.code !== "unrecognized_keys") return [invalid(issue.message, locate(path))];
      return issue.keys.map(
        (key) =>
          new LayerfoldError("RECIPE_INVALID", `unknown key "${key}"${suggestion(key, known(path))}`, {
            wanted: `one of: ${known(path).join(", ")}`,
            where: locateKey([...path, key]),
          }),
      );
    });
  return { problems };
}

type Issue = z.core.$ZodIssue;

/** Of alternatives, what is wrong with the one that was meant: the one of the value's own type. */
function told(issue: Issue, above: readonly PropertyKey[]): Issue[] {
  const path = [...above, ...issue.path];
  if (issue.code !== "invalid_union") return [{ ...issue, path }];
  const meant = issue.errors
    .map((branch) => branch.flatMap((inner) => told(inner, path)))
    .filter((branch) => !branch.some((inner) => refusesType(inner, path)));
  if (meant.length > 0) return meant.sort((a, b) => a.length - b.length)[0];
  const wanted = issue.errors.flat().flatMap((inner) => expectedBy(inner));
  return [{ ...issue, path, message: `wanted ${[...new Set(wanted)].join(" or ")}` }];
}

/** Whether an alternative is for values of another type, and so was not meant. */
function refusesType(issue: Issue, path: readonly PropertyKey[]): boolean {
  const here = issue.path.length === path.length;
  return here && ["invalid_type", "invalid_value", "invalid_union", "custom"].includes(issue.code);
}

function expectedBy(issue: Issue): string[] {
  if (issue.code === "invalid_type") return [`${issue.expected}`];
  if (issue.code === "invalid_value") return issue.values.map(String);
  if (issue.code === "invalid_union") return issue.errors.flat().flatMap(expectedBy);
  return [];
}

function invalid(message: string, where: string, cause?: unknown): LayerfoldError {
  return new LayerfoldError("RECIPE_INVALID", message.split("\n")[0], { where, cause });
}
