import { LayerfoldError, quoted } from "@layerfold/core";
import type { ModelConfig } from "./family.js";

/** Typed access to the fields of a config.json. A field that is null counts as absent, but in the `optional` ones. */
export interface ConfigReader {
  /** A whole number from 1 to `most` (default 2^31 − 1), or `fallback` where the field is absent. @throws CONFIG_INVALID */
  count(field: string, fallback?: number, most?: number): number;
  /** A whole number ≥ 0 below 2^31. */
  index(field: string, fallback?: number): number;
  /** A number that float32 holds. */
  number(field: string, fallback?: number): number;
  /** A number > 0 that is neither 0 nor infinite in float32. */
  positive(field: string, fallback?: number): number;
  /** A number from 0 to below 1: what a norm adds to a variance. */
  epsilon(field: string, fallback?: number): number;
  boolean(field: string, fallback?: boolean): boolean;
  string(field: string, fallback?: string): string;
  /** Undefined where the field is null, `whenAbsent` where it is not there at all. */
  optionalNumber(field: string, whenAbsent?: number): number | undefined;
  optionalPositive(field: string, whenAbsent?: number): number | undefined;
  optionalCount(field: string, whenAbsent?: number): number | undefined;
  has(field: string): boolean;
  is(field: string, value: unknown): boolean;
  /** A list, or undefined where the field is absent. */
  list(field: string): readonly unknown[] | undefined;
  /** An object, or undefined where the field is absent. */
  object(field: string): ModelConfig | undefined;
  /** CONFIG_INVALID about one field. */
  invalid(field: string, wanted: string): LayerfoldError;
}

// No tensor has an axis that long, and tensor libraries count axes in 32 bits.
const largestCount = 2 ** 31 - 1;

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function isSingle(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(Math.fround(value));
}

function isPositive(value: unknown): boolean {
  return isSingle(value) && Math.fround(value as number) > 0;
}

/** @param where - what to name in errors, e.g. `config.json` */
export function readConfig(config: ModelConfig, where = "config.json"): ConfigReader {
  const invalid = (field: string, wanted: string) =>
    new LayerfoldError("CONFIG_INVALID", `cannot use ${field}`, {
      wanted,
      got: quoted(config[field]),
      where: `${where}, ${field}`,
    });
  function field<T>(name: string, wanted: string, valid: (value: unknown) => boolean, fallback?: T): T {
    const value = config[name] ?? fallback;
    if (!valid(value)) throw invalid(name, wanted);
    return value as T;
  }
  const optional =
    (read: (name: string) => number) =>
    (name: string, whenAbsent?: number): number | undefined => {
      if (config[name] === undefined) return whenAbsent;
      return config[name] === null ? undefined : read(name);
    };
  const count = (name: string, fallback?: number, most = largestCount) =>
    field(name, `a whole number from 1 to ${most}`, (v) => isWhole(v, 1, most), fallback);
  const number = (name: string, fallback?: number) => field(name, "a number", isSingle, fallback);
  const positive = (name: string, fallback?: number) =>
    field(name, "a number > 0 that float32 can hold", isPositive, fallback);
  return {
    count,
    index: (name, fallback) =>
      field(name, "a whole number ≥ 0", (v) => isWhole(v, 0, largestCount), fallback),
    number,
    positive,
    epsilon: (name, fallback) =>
      field(
        name,
        "a number ≥ 0 and < 1",
        (v) => isSingle(v) && (v as number) >= 0 && (v as number) < 1,
        fallback,
      ),
    boolean: (name, fallback) => field(name, "true or false", (v) => typeof v === "boolean", fallback),
    string: (name, fallback) => field(name, "a string", (v) => typeof v === "string", fallback),
    optionalNumber: optional(number),
    optionalPositive: optional(positive),
    optionalCount: optional(count),
    has: (name) => config[name] != null,
    is: (name, value) => config[name] === value,
    list: (name) => (config[name] == null ? undefined : field(name, "a list", Array.isArray)),
    object: (name) =>
      config[name] == null
        ? undefined
        : field(name, "an object", (v) => typeof v === "object" && !Array.isArray(v)),
    invalid,
  };
}
