import { LayerfoldError } from "@layerfold/core";
import { main } from "../../src/main.js";

/** Runs the command line here. @throws what it says: the coded error, or another */
export async function runCommand(...args: string[]): Promise<void> {
  const said: string[] = [];
  const write = process.stderr.write;
  process.stderr.write = ((text: string) => said.push(`${text}`) > 0) as typeof write;
  let code: number;
  try {
    code = await main([...args, "--json", "--quiet"]);
  } finally {
    process.stderr.write = write;
  }
  if (code === 0) return;
  const text = said.join("");
  const line = text.split("\n").find((part) => part.startsWith('{"error":'));
  if (!line) throw Object.assign(new Error(text), { stack: text });
  const { error } = JSON.parse(line);
  throw new LayerfoldError(error.code, error.message);
}
