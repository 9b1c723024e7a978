import { LayerfoldError, suggestion } from "@layerfold/core";
import type { Json } from "@layerfold/tasks";

/** What `--set KIND.OPTION=VALUE` asked for, by kind of plug-in. */
export interface Settings {
  /** The options of one kind, as JSON has them; marks the kind as used. */
  of(kind: string): Record<string, Json>;
  /** @throws OPTION_UNKNOWN when a kind was set that the command made no plug-in of */
  assertUsed(): void;
}

/**
 * Parses `--set` arguments. A value that reads as JSON is that value (`0.5`, `true`, `"auto"`, `[1,2]`), anything else is text.
 * @throws OPTION_INVALID for an argument that is not KIND.OPTION=VALUE
 */
export function parseSettings(assignments: readonly string[]): Settings {
  const byKind = new Map<string, Record<string, Json>>();
  const used = new Set<string>();
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
    byKind.set(kind, { ...byKind.get(kind), [option]: parseValue(text) });
  }
  return {
    of(kind) {
      used.add(kind);
      return byKind.get(kind) ?? {};
    },
    assertUsed() {
      for (const kind of byKind.keys()) {
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
