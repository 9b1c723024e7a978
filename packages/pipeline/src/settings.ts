import { LayerfoldError, suggestion } from "@layerfold/core";
import type { Json } from "@layerfold/tasks";

/** Options by kind of plug-in. */
export type OptionsByKind = Readonly<Record<string, Readonly<Record<string, Json>>>>;

/** What `--set KIND.OPTION=VALUE` asked for. */
export interface Settings {
  /** The options of one kind, as JSON has them; marks the kind as used. */
  of(kind: string): Record<string, Json>;
  /** @throws OPTION_UNKNOWN when a kind was set that the command made no plug-in of */
  assertUsed(): void;
  readonly values: OptionsByKind;
}

/**
 * Parses `--set` arguments. A value that reads as JSON is that value (`0.5`, `true`, `"auto"`, `[1,2]`), anything else is text.
 * @throws OPTION_INVALID for an argument that is not KIND.OPTION=VALUE
 */
export function parseSettings(assignments: readonly string[]): Settings {
  const byKind: Record<string, Record<string, Json>> = {};
  for (const assignment of assignments) {
    const match = /^([a-z-]+)\.([A-Za-z0-9]+)=(.*)$/s.exec(assignment);
    if (!match) {
      throw new LayerfoldError("OPTION_INVALID", "cannot read this setting", {
        wanted: "KIND.OPTION=VALUE, e.g. embedding.alpha=0.5",
        got: assignment,
        where: "--set",
      });
    }
    const [, kind, option, text] = match;
    byKind[kind] = { ...byKind[kind], [option]: parseValue(text) };
  }
  return settingsOf(byKind);
}

/** @param values - options by kind; those of the second overrule the first's */
export function settingsOf(values: OptionsByKind, others: OptionsByKind = {}): Settings {
  const byKind: Record<string, Record<string, Json>> = {};
  for (const [kind, options] of [...Object.entries(values), ...Object.entries(others)])
    byKind[kind] = { ...byKind[kind], ...options };
  const used = new Set<string>();
  return {
    values: byKind,
    of(kind) {
      used.add(kind);
      return byKind[kind] ?? {};
    },
    assertUsed() {
      for (const kind of Object.keys(byKind)) {
        if (used.has(kind)) continue;
        throw new LayerfoldError(
          "OPTION_UNKNOWN",
          `this command makes no such plug-in${suggestion(kind, [...used])}`,
          {
            wanted: [...used].join(", ") || "no --set at all",
            got: kind,
            where: "--set",
          },
        );
      }
    },
  };
}

function parseValue(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
