import { vi } from "vitest";
import { main } from "../src/main.js";

/** Runs the command line in this process. */
export async function layerfold(
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const stdout = vi.spyOn(process.stdout, "write").mockImplementation((text) => out.push(String(text)) > 0);
  const stderr = vi.spyOn(process.stderr, "write").mockImplementation((text) => err.push(String(text)) > 0);
  try {
    const code = await main(args);
    return { code, stdout: out.join(""), stderr: err.join("") };
  } finally {
    stdout.mockRestore();
    stderr.mockRestore();
  }
}

/** The same with `--json --quiet`: the parsed result, or the parsed error. */
export async function json(...args: string[]): Promise<{ code: number; result: any; error: any }> {
  const { code, stdout, stderr } = await layerfold(...args, "--json", "--quiet");
  return {
    code,
    result: stdout ? JSON.parse(stdout) : undefined,
    error: stderr.startsWith("{") ? JSON.parse(stderr).error : undefined,
  };
}
