import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createTerminal } from "./terminal.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function piped(options: { json?: boolean; quiet?: boolean } = {}) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const terminal = createTerminal({ json: false, quiet: false, ...options, stdout, stderr });
  return { terminal, out: () => String(stdout.read() ?? ""), err: () => String(stderr.read() ?? "") };
}

const progress = (done: number) =>
  ({ type: "progress", stage: "capture", done, total: 100, unit: "tokens" }) as const;

it("writes plain lines with the time left when piped, and not too many", () => {
  const { terminal, err } = piped();
  terminal.report(progress(0));
  for (let done = 1; done <= 50; done++) {
    vi.advanceTimersByTime(500);
    terminal.report(progress(done));
  }
  expect(err().split("\n").filter(Boolean)).toEqual([
    "capture: 20/100 tokens · 40 s left",
    "capture: 40/100 tokens · 30 s left",
  ]);
  vi.advanceTimersByTime(5000);
  terminal.report(progress(100));
  expect(err()).toBe("capture: 100/100 tokens · 30.0 s\n");
});

it("keeps a stage's clock through notes, and begins it anew when the stage comes again", () => {
  const { terminal, err } = piped();
  for (let round = 0; round < 2; round++) {
    terminal.report(progress(20));
    vi.advanceTimersByTime(10_000);
    terminal.report({ type: "diagnostic", severity: "warning", code: "X", message: `y ${round}` });
    terminal.say("a line");
    vi.advanceTimersByTime(10_000);
    // 20 tokens came in 20 seconds; those before were there already.
    terminal.report(progress(40));
    vi.advanceTimersByTime(5000);
    terminal.report(progress(100));
    expect(err().split("\n").filter(Boolean)).toEqual([
      `warning X: y ${round}`,
      "capture: 40/100 tokens · 60 s left",
      "capture: 100/100 tokens · 25.0 s",
    ]);
  }
});

it("gives the same note once", () => {
  const { terminal, err } = piped();
  for (const message of ["flat", "steep", "flat"]) {
    terminal.report({ type: "diagnostic", severity: "warning", code: "SPECTRUM", message });
  }
  expect(err()).toBe("warning SPECTRUM: flat\nwarning SPECTRUM: steep\n");
});

it("says nothing when quiet, but for a JSON result", () => {
  const quiet = piped({ quiet: true });
  quiet.terminal.report(progress(1));
  quiet.terminal.report({ type: "diagnostic", severity: "warning", code: "X", message: "y" });
  quiet.terminal.say("hello");
  quiet.terminal.result({ a: 1 }, "text");
  expect(quiet.out() + quiet.err()).toBe("");
  const both = piped({ quiet: true, json: true });
  both.terminal.result({ a: 1 }, "text");
  expect(JSON.parse(both.out())).toEqual({ a: 1 });
});

it("keeps stdout for the result", () => {
  const { terminal, out, err } = piped({ json: true });
  terminal.report({ type: "diagnostic", severity: "warning", code: "SPECTRUM", message: "flat" });
  terminal.say("hello");
  terminal.result({ a: 1 }, "text");
  expect(JSON.parse(out())).toEqual({ a: 1 });
  expect(err()).toBe("warning SPECTRUM: flat\n");
});
