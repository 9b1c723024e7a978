/** A Markdown table; a bar or a line's end in a cell is written so that it stays in its cell. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(" | ")} |\n`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("");
}

function escaped(cell: string): string {
  return cell.replace(/[\\|]/g, "\\$&").replace(/\s*\n\s*/g, " ");
}
