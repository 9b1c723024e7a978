import type { Plugin } from "@layerfold/core";
import { escapeText } from "./svg.js";

/** Any JSON as names and values; a nested value's name is its path. */
export function facts(value: Readonly<Record<string, unknown>>): string {
  const lines: string[] = [];
  const walk = (name: string, fact: unknown) => {
    if (fact === undefined || fact === null || fact === "") return;
    if (isPlugin(fact)) {
      const options =
        Object.keys(fact.options).length > 0
          ? ` <code>${escapeText(JSON.stringify(fact.options))}</code>`
          : "";
      lines.push(`<dt>${escapeText(fact.kind)}</dt><dd>${escapeText(fact.id)}${options}</dd>`);
      return;
    }
    if (typeof fact === "object" && Object.keys(fact).length > 0 && !isFlat(fact)) {
      for (const [key, part] of Object.entries(fact)) walk(name ? `${name} · ${key}` : key, part);
      return;
    }
    const text = typeof fact === "object" ? JSON.stringify(fact) : String(fact);
    const shown =
      typeof fact === "object" || /^[0-9a-f]{40,}$/.test(text)
        ? `<code>${escapeText(text)}</code>`
        : escapeText(text);
    lines.push(`<dt>${escapeText(name)}</dt><dd>${shown}</dd>`);
  };
  walk("", value);
  return `<dl class="facts">${lines.join("")}</dl>`;
}

function isPlugin(fact: unknown): fact is Pick<Plugin, "kind" | "id" | "options"> {
  const { kind, id, options } = Object(fact) as Partial<Plugin>;
  return (
    typeof kind === "string" && typeof id === "string" && typeof options === "object" && options !== null
  );
}

/** Whether a value reads best on one line: a list of plain values. */
function isFlat(fact: object): boolean {
  return Array.isArray(fact) && fact.every((part) => typeof part !== "object" || part === null);
}
