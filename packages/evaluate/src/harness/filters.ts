import { LayerfoldError } from "@layerfold/core";
import { pythonRegex } from "./python-regex.js";
import { strip } from "./python-text.js";
import type { TaskConfig } from "./task-config.js";

/** Takes out of a response what counts. */
export interface ResponseFilter {
  readonly name: string;
  apply(response: string): string;
}

type Step = NonNullable<TaskConfig["filter_list"]>[number]["filter"][number];

/**
 * The filters of a task, "none" where it has none.
 * @throws TASK_FIELD_UNSUPPORTED for a filter that is not known here
 */
export function filtersOf({ filter_list, task }: TaskConfig): ResponseFilter[] {
  if (!filter_list) return [{ name: "none", apply: (response) => response }];
  return filter_list.map(({ name, filter }, index) => {
    const steps = filter.map((step, i) => readStep(step, `${task}, filter_list.${index}.filter.${i}`));
    return { name, apply: (response) => steps.reduce((text, step) => step(text), response) };
  });
}

const known: Readonly<Record<string, (step: Step, where: string) => (text: string) => string>> = {
  regex: ({ regex_pattern = "#### (\\-?[0-9\\.\\,]+)", group_select = 0, fallback = "[invalid]" }, where) => {
    const expression = pythonRegex(regex_pattern, where);
    return (text) => {
      // Python's findall: the groups of a match where there are any, and of those the first that is not empty.
      const matches = Array.from(text.matchAll(expression), ([whole, ...groups]) =>
        groups.length === 0
          ? whole
          : groups.length === 1
            ? (groups[0] ?? "")
            : (groups.find(Boolean) ?? fallback),
      );
      const match = matches.at(group_select);
      return match === undefined ? fallback : strip(match);
    };
  },
  remove_whitespace: () => (text) => strip(text),
  lowercase: () => (text) => text.toLowerCase(),
  uppercase: () => (text) => text.toUpperCase(),
  map:
    ({ mapping_dict = {}, default_value }) =>
    (text) =>
      Object.hasOwn(mapping_dict, text) ? mapping_dict[text] : (default_value ?? "None"),
  // There is one greedy response to each request.
  take_first: () => (text) => text,
  take_first_k: ({ k }, where) => {
    if (k === 1) return (text) => text;
    throw new LayerfoldError("TASK_FIELD_UNSUPPORTED", "a filter asks for several responses", { where });
  },
  majority_vote: () => (text) => text,
};

function readStep(step: Step, where: string): (text: string) => string {
  if (Object.hasOwn(known, step.function)) return known[step.function](step, where);
  throw new LayerfoldError("TASK_FIELD_UNSUPPORTED", `a filter is not known here: ${step.function}`, {
    wanted: Object.keys(known).join(", "),
    where,
  });
}
