import * as library from "@huggingface/jinja";
import { withinTime } from "@layerfold/checkpoint";
import { isLayerfoldError, LayerfoldError } from "@layerfold/core";
import { filters, methods } from "./python-methods.js";
import { pythonText, type Row, type Value } from "./python-text.js";

/** A Jinja template of a task file. */
export interface Template {
  /**
   * @param where - the document, for errors
   * @returns the text; where the template is one expression alone, the expression's value
   * @throws TASK_ROW_INVALID naming the column, TASK_TEMPLATE_FAILED, TASK_TEMPLATE_SLOW
   */
  evaluate(row: Row, where: string): Value;
}

export interface TemplateOptions {
  /** Seconds that a template may take for one document; default 5. */
  readonly timeLimit?: number;
}

/** A node of a template's syntax. */
interface Node {
  readonly type: string;
  readonly [name: string]: unknown;
}

/** A value of the library's. */
interface Runtime {
  readonly type: string;
  readonly value: unknown;
  __bool__(): { readonly value: boolean };
}

interface Environment {
  set(name: string, value: unknown): Runtime;
}

// Its declarations import one another without extensions, which Node's resolution does not follow.
const { Environment, Interpreter, parse, tokenize } = library as unknown as {
  readonly Environment: new () => Environment;
  readonly Interpreter: new (
    environment: Environment,
  ) => { evaluate(node: Node, environment: Environment): Runtime };
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
  parse(tokens: unknown): { readonly body: readonly Node[] };
};

/**
 * Reads a template as the harness does: Jinja without trimming of blocks, undefined names are errors, and a filter `regex_replace`.
 * @param field - the field that it stands in, for errors
 * @throws TASK_INVALID where it is no template
 */
export function readTemplate(
  source: string,
  field: string,
  { timeLimit = 5 }: TemplateOptions = {},
): Template {
  let body: readonly Node[];
  try {
    // The library drops a last line break, which the harness keeps.
    const escaped = withPythonEscapes(source);
    const kept = escaped.endsWith("\n") ? `${escaped}\n` : escaped;
    const program = withinTime(
      timeLimit,
      () => parse(tokenize(kept, { lstrip_blocks: false, trim_blocks: false })),
      () => new LayerfoldError("TASK_INVALID", "the template cannot be read in time", { where: field }),
    );
    body = program.body;
  } catch (cause) {
    if (isLayerfoldError(cause)) throw cause;
    throw new LayerfoldError("TASK_INVALID", `not a template: ${reasonOf(cause)}`, { where: field, cause });
  }
  const inBlocks = new WeakSet<object>();
  for (const node of body) findBlocks(node, inBlocks);
  return {
    evaluate(row, where) {
      const place = `${where}, ${field}`;
      const slow = () =>
        new LayerfoldError("TASK_TEMPLATE_SLOW", "the template does not come to an end", {
          wanted: `${timeLimit} s at most`,
          where: place,
        });
      try {
        return withinTime(timeLimit, () => run(body, inBlocks, row), slow);
      } catch (cause) {
        if (cause instanceof Missing) {
          throw new LayerfoldError("TASK_ROW_INVALID", `the row has no column "${cause.column}"`, {
            got: Object.keys(row).join(", "),
            where: place,
            cause,
          });
        }
        if (isLayerfoldError(cause)) throw cause;
        throw new LayerfoldError("TASK_TEMPLATE_FAILED", `the template fails: ${reasonOf(cause)}`, {
          where: place,
          cause,
        });
      }
    },
  };
}

const reasonOf = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause));

/** In Python's texts a backslash before most characters is one; the library refuses it. */
function withPythonEscapes(source: string): string {
  return source.replace(/\{[{%][\s\S]*?[}%]\}/g, (code) =>
    code.replace(/(['"])((?:\\[\s\S]|(?!\1)[^\\])*)\1/g, (text) =>
      text.replace(/\\([\s\S])/g, (pair, next: string) =>
        "ntrbfv'\"\\".includes(next) ? pair : `\\${pair}`,
      ),
    ),
  );
}

/** A name that stands for nothing. */
class Missing extends Error {
  readonly column: string;

  constructor(column: string) {
    super(`nothing is called ${column}`);
    this.column = column;
  }
}

function run(body: readonly Node[], inBlocks: WeakSet<object>, row: Row): Value {
  const environment = new Environment();
  const given = { true: true, false: false, none: null, True: true, False: false, None: null };
  for (const [name, value] of Object.entries({ ...given, ...row })) environment.set(name, value);
  environment.set("range", (...bounds: number[]) => {
    const [from, to, step] = bounds.length > 1 ? [bounds[0], bounds[1], bounds[2] ?? 1] : [0, bounds[0], 1];
    const out: number[] = [];
    for (let i = from; step > 0 ? i < to : i > to; i += step) out.push(i);
    return out;
  });
  const interpreter = new PythonLike(environment, inBlocks);
  const outputs: Value[] = [];
  for (const node of body) {
    const value = plain(interpreter.evaluate(node, environment));
    if (isStatement(node) ? value !== null && value !== "" : value !== "") outputs.push(value);
  }
  return outputs.length === 1 ? outputs[0] : outputs.map(pythonText).join("");
}

const statements = new Set(["Set", "If", "For", "Macro", "CallStatement", "FilterStatement", "Comment"]);

function isStatement({ type }: Node): boolean {
  return statements.has(type);
}

/** Collects expressions whose value is printed inside a block. */
function findBlocks(node: unknown, found: WeakSet<object>): void {
  if (typeof node !== "object" || node === null) return;
  for (const [name, part] of Object.entries(node)) {
    const isBlock = name === "body" || name === "alternate" || name === "defaultBlock";
    for (const child of Array.isArray(part) ? part : [part]) {
      if (isBlock && typeof child === "object" && child !== null && !isStatement(child as Node))
        found.add(child);
      findBlocks(child, found);
    }
  }
}

function plain(value: Runtime): Value {
  const { type, value: inner } = value;
  if (type === "ArrayValue" || type === "TupleValue") return (inner as Runtime[]).map(plain);
  if (type === "ObjectValue" || type === "NamespaceValue") {
    return Object.fromEntries(Array.from(inner as Map<string, Runtime>, ([name, one]) => [name, plain(one)]));
  }
  if (type === "FunctionValue") throw new Error("a function is printed");
  return (inner ?? null) as Value;
}

/** A value of the library's. */
function runtime(value: unknown): Runtime {
  return new Environment().set("value", value);
}

/** The library's interpreter with Python's methods, printing and missing names. */
class PythonLike extends Interpreter {
  /** How many tests or defaults a name stands in that may be missing. */
  private lenient = 0;
  private readonly inBlocks: WeakSet<object>;

  constructor(environment: Environment, inBlocks: WeakSet<object>) {
    super(environment);
    this.inBlocks = inBlocks;
  }

  override evaluate(statement: Node, environment: Environment): Runtime {
    const value = this.evaluated(statement, environment);
    const isText = value.type === "StringValue";
    return !isText && statement && this.inBlocks.has(statement) ? runtime(pythonText(plain(value))) : value;
  }

  private evaluated(node: Node, environment: Environment): Runtime {
    const type = node?.type;
    if (type === "TestExpression") {
      const { value: test } = node.test as unknown as { value: string };
      if (test === "defined" || test === "undefined") return this.leniently(node, environment);
    }
    if (type === "FilterExpression") {
      const filter = this.filterOf(node, environment);
      if (filter) return filter;
    }
    if (type === "CallExpression") {
      const called = this.methodOf(node, environment);
      if (called) return called;
    }
    const value = super.evaluate(node, environment);
    const missing = value?.type === "UndefinedValue";
    if (missing && this.lenient === 0 && (type === "Identifier" || type === "MemberExpression")) {
      throw new Missing(spelled(node));
    }
    return value;
  }

  private leniently(node: Node, environment: Environment): Runtime {
    this.lenient++;
    try {
      return super.evaluate(node, environment);
    } finally {
      this.lenient--;
    }
  }

  /** The filters that the library lacks, or has otherwise than Python. */
  private filterOf(node: Node, environment: Environment): Runtime | undefined {
    const filter = node.filter as Node;
    const isCall = filter.type === "CallExpression";
    const name = String(((isCall ? filter.callee : filter) as unknown as { value: unknown }).value);
    if (name === "default" || name === "d") {
      const operand = this.leniently(node.operand as Node, environment);
      const [fallback = "", whenFalse = false] = isCall ? this.argumentsOf(filter, environment) : [];
      const empty = operand.type === "UndefinedValue" || (whenFalse && !operand.__bool__().value);
      return empty ? runtime(fallback) : operand;
    }
    const own = filters[name];
    if (!own) return undefined;
    const operand = plain(this.evaluate(node.operand as Node, environment));
    return runtime(own(operand, isCall ? this.argumentsOf(filter, environment) : []));
  }

  /** Methods of texts and lists that the library lacks, or has otherwise than Python. */
  private methodOf(node: Node, environment: Environment): Runtime | undefined {
    const callee = node.callee as Node;
    if (callee.type !== "MemberExpression" || callee.computed) return undefined;
    const name = String((callee.property as unknown as { value: unknown }).value);
    if (!Object.hasOwn(methods, name)) return undefined;
    const object = this.evaluate(callee.object as Node, environment);
    const { type } = object;
    if (type !== "StringValue" && type !== "ArrayValue") return undefined;
    const result = methods[name](plain(object) as string | Value[], this.argumentsOf(node, environment));
    return result === undefined ? undefined : runtime(result);
  }

  /** Positional arguments; those by name stand behind them in their order. */
  private argumentsOf(call: Node, environment: Environment): Value[] {
    return (call.args as Node[]).map((argument) =>
      plain(
        this.evaluate(
          argument.type === "KeywordArgumentExpression" ? (argument.value as Node) : argument,
          environment,
        ),
      ),
    );
  }
}

function spelled(node: Node): string {
  if (node.type === "Identifier") return String(node.value);
  const object = node.object as Node;
  const property = node.property as Node;
  const known = object.type === "Identifier" || object.type === "MemberExpression";
  const name = String(property.value ?? "…");
  return known ? `${spelled(object)}${node.computed ? `[${name}]` : `.${name}`}` : name;
}
