import { LayerfoldError } from "@layerfold/core";
import type { ModelConfig } from "./family.js";

/** Typed access to the fields of a config.json. A field that is null counts as absent, but in `optionalNumber`. */
export interface ConfigReader {
  /** A whole number ≥ 1, or `fallback` where the field is absent. @throws CONFIG_INVALID */
  count(field: string, fallback?: number): number;
  number(field: string, fallback?: number): number;
  boolean(field: string, fallback?: boolean): boolean;
  string(field: string, fallback?: string): string;
  /** Undefined where the field is null, `whenAbsent` where it is not there at all. */
  optionalNumber(field: string, whenAbsent?: number): number | undefined;
  has(field: string): boolean;
  is(field: string, value: unknown): boolean;
  /** A list, or undefined where the field is absent. */
  list(field: string): readonly unknown[] | undefined;
  /** An object, or undefined where the field is absent. */
  object(field: string): ModelConfig | undefined;
  /** CONFIG_INVALID about one field. */
  invalid(field: string, wanted: string): LayerfoldError;
}

/** @param where - what to name in errors, e.g. `config.json` */
export function readConfig(config: ModelConfig, where = "config.json"): ConfigReader {
  const invalid = (field: string, wanted: string) =>
    new LayerfoldError("CONFIG_INVALID", `cannot use ${field}`, {
      wanted,
      got: JSON.stringify(config[field]) ?? "nothing",
      where: `${where}, ${field}`,
    });
  function field<T>(name: string, wanted: string, valid: (value: unknown) => boolean, fallback?: T): T {
    const value = config[name] ?? fallback;
    if (!valid(value)) throw invalid(name, wanted);
    return value as T;
  }
  return {
    count: (name, fallback) =>
      field(name, "a whole number ≥ 1", (v) => Number.isSafeInteger(v) && (v as number) >= 1, fallback),
    number: (name, fallback) => field(name, "a number", Number.isFinite, fallback),
    boolean: (name, fallback) => field(name, "true or false", (v) => typeof v === "boolean", fallback),
    string: (name, fallback) => field(name, "a string", (v) => typeof v === "string", fallback),
    optionalNumber: (name, whenAbsent) =>
      config[name] === undefined
        ? whenAbsent
        : config[name] === null
          ? undefined
          : field(name, "a number", Number.isFinite),
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
