import { LayerfoldError, suggestion } from "@layerfold/core";

/** A condition on a figure, such as `acc(mmlu)>0.97x`. */
export interface GateCondition {
  /** As it was written, without spaces around it. */
  readonly text: string;
  /** `METRIC`, `METRIC(NAME)` or `METRIC(NAME,FILTER)`. */
  readonly figure: string;
  readonly operator: "<" | "<=" | ">" | ">=";
  readonly limit: number;
  /** What is held against the limit: the figure itself, its ratio to the first model's, or its difference from it. */
  readonly compared: "value" | "ratio" | "difference";
}

/** A figure as a gate sees it. */
export interface GateFigure {
  /** `METRIC(NAME)` or `METRIC(NAME,FILTER)`. */
  readonly figure: string;
  /** Of the first model; null: the figure itself is measured against the first. */
  readonly first: number | null;
  readonly value: number;
}

/** A condition, and whether it holds for one model. */
export interface GateVerdict {
  readonly condition: string;
  readonly figure: string;
  readonly compared: GateCondition["compared"];
  /** What was held against the limit. */
  readonly found: number;
  readonly limit: number;
  readonly passed: boolean;
}

const wanted = "FIGURE OPERATOR NUMBER[x|d], e.g. perplexity<1.05x, acc(mmlu)>-0.02d";
const steps = [
  { what: "a figure", form: /[A-Za-z_][\w-]*(?:\s*\([^()]+\))?/y },
  { what: "<, <=, > or >=", form: /[<>]=?/y },
  { what: "a number", form: /[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y },
  { what: "x, d or nothing", form: /[xd]?(?![\w.%])/y },
] as const;

/**
 * Reads conditions with commas between them. A number with `x` stands for the ratio to the first model's figure, one with `d` for the difference from
 * it, a bare one for the figure itself.
 * @throws GATE_INVALID naming the part that cannot be read, and where it begins (characters from 1)
 */
export function parseGate(text: string): GateCondition[] {
  const conditions: GateCondition[] = [];
  let at = 0;
  const space = () => {
    while (at < text.length && text[at].trim() === "") at++;
  };
  const invalid = (what: string) =>
    new LayerfoldError("GATE_INVALID", `cannot read the gate: expected ${what}`, {
      wanted,
      got: at < text.length ? `"${text.slice(at)}"` : "its end",
      where: `--gate, character ${at + 1}`,
    });
  do {
    space();
    const start = at;
    const [figure, operator, limit, unit] = steps.map(({ what, form }) => {
      space();
      form.lastIndex = at;
      const found = form.exec(text)?.[0];
      if (found === undefined) throw invalid(what);
      at += found.length;
      return found;
    });
    const end = at;
    space();
    if (at < text.length && text[at] !== ",") throw invalid("a comma or the end");
    conditions.push({
      text: text.slice(start, end).trim(),
      figure: figureName(figure),
      operator: operator as GateCondition["operator"],
      limit: Number(limit),
      compared: unit === "x" ? "ratio" : unit === "d" ? "difference" : "value",
    });
  } while (text[at++] === ",");
  return conditions;
}

/** Without the spaces that a name may be written with. */
function figureName(text: string): string {
  return text.replace(/\s*([(),])\s*/g, "$1").trim();
}

/**
 * The figure that a condition speaks of: the one of its whole name, or the only one that begins with what it says.
 * @param known - `METRIC(NAME)` or `METRIC(NAME,FILTER)`
 * @throws GATE_UNKNOWN where there is none, GATE_AMBIGUOUS where there are several
 */
export function gateFigure(
  { figure, text }: Pick<GateCondition, "figure" | "text">,
  known: readonly string[],
): string {
  const names = known.map(figureName);
  const whole = names.indexOf(figure);
  if (whole >= 0) return known[whole];
  const shortened = figure.endsWith(")") ? `${figure.slice(0, -1)},` : `${figure}(`;
  const found = known.filter((_, i) => names[i].startsWith(shortened));
  if (found.length === 1) return found[0];
  if (found.length > 1) {
    throw new LayerfoldError("GATE_AMBIGUOUS", "several figures have this name", {
      wanted: found.join(", "),
      got: figure,
      where: `--gate, ${text}`,
    });
  }
  const metrics = known.map((name) => name.slice(0, name.indexOf("(")));
  const offered = figure.includes("(") ? known : [...new Set(metrics)];
  throw new LayerfoldError("GATE_UNKNOWN", `no such figure is measured${suggestion(figure, offered)}`, {
    wanted: known.join(", "),
    got: figure,
    where: `--gate, ${text}`,
  });
}

/**
 * Holds a gate against the figures of one model. What is not a number holds no condition.
 * @throws GATE_UNKNOWN, GATE_AMBIGUOUS; GATE_INVALID for a ratio or difference of what is itself measured against the first
 */
export function checkGate(
  conditions: readonly GateCondition[],
  figures: readonly GateFigure[],
): GateVerdict[] {
  const names = figures.map(({ figure }) => figure);
  return conditions.map((condition) => {
    const { figure, first, value } = figures[names.indexOf(gateFigure(condition, names))];
    if (condition.compared !== "value" && first === null) throw absoluteOnly(condition, figure);
    const found = {
      value,
      ratio: value / (first ?? Number.NaN),
      difference: value - (first ?? Number.NaN),
    }[condition.compared];
    return {
      condition: condition.text,
      figure,
      compared: condition.compared,
      found,
      limit: condition.limit,
      passed: holds[condition.operator](found, condition.limit),
    };
  });
}

/** The error for a ratio or difference of what is itself measured against the first. */
export function absoluteOnly({ text }: Pick<GateCondition, "text">, figure: string): LayerfoldError {
  return new LayerfoldError("GATE_INVALID", `${figure} is itself measured against the first model`, {
    wanted: "a number without x or d",
    got: text,
    where: "--gate",
  });
}

/** Figures are quotients and differences: what is equal to a limit but for their rounding is equal to it. */
function isEqual(found: number, limit: number): boolean {
  return Math.abs(found - limit) <= 1e-12 * Math.max(1, Math.abs(limit));
}

const holds: Readonly<Record<GateCondition["operator"], (found: number, limit: number) => boolean>> = {
  "<": (found, limit) => found < limit && !isEqual(found, limit),
  "<=": (found, limit) => found < limit || isEqual(found, limit),
  ">": (found, limit) => found > limit && !isEqual(found, limit),
  ">=": (found, limit) => found > limit || isEqual(found, limit),
};
