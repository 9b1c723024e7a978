import type { ProgressEvent, ReportEvent } from "@layerfold/core";
import { type Options, Presets, SingleBar } from "cli-progress";

/** How a command talks: results to stdout, everything else to stderr. */
export interface Terminal {
  /** For `ctx.report`. */
  report(event: ReportEvent): void;
  /** A line for a person; nothing with `--json` or `--quiet`. */
  say(line: string): void;
  /** The command's result: JSON with `--json`, else `text`; printed even with `--quiet` only when `--json` asks for it. */
  result(value: unknown, text: string): void;
  /** Takes the progress bar down. */
  stop(): void;
}

export interface TerminalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stdout?: NodeJS.WritableStream;
  readonly stderr?: NodeJS.WritableStream & { isTTY?: boolean };
}

const plainLineEverySeconds = 10;

/** A progress bar with ETA on a terminal, plain lines when piped, nothing with `--quiet`. */
export function createTerminal(options: TerminalOptions): Terminal {
  const { json, quiet, stdout = process.stdout, stderr = process.stderr } = options;
  let bar: SingleBar | undefined;
  let stage: string | undefined;
  let startedAt = 0;
  let startedWith = 0;
  let lastLineAt = 0;
  const told = new Set<string>();

  /** Makes room for a line; the stage goes on behind it. */
  const takeDown = () => {
    bar?.stop();
    bar = undefined;
  };
  const stop = () => {
    takeDown();
    stage = undefined;
  };

  const showBar = (event: ProgressEvent) => {
    if (!bar || stage !== event.stage) {
      takeDown();
      stage = event.stage;
      const style: Options = {
        format: "{stage} {bar} {value}/{total} {unit} · {eta_formatted} left",
        hideCursor: true,
        clearOnComplete: true,
        etaBuffer: 50,
        stream: stderr as NodeJS.WriteStream,
      };
      bar = new SingleBar(style, Presets.shades_classic);
      bar.start(event.total, event.done, { stage: event.stage, unit: event.unit });
    } else {
      bar.setTotal(event.total);
      bar.update(event.done);
    }
    if (event.done >= event.total) stop();
  };

  const showLine = (event: ProgressEvent) => {
    const now = Date.now();
    if (stage !== event.stage) {
      stage = event.stage;
      startedAt = now;
      startedWith = event.done;
      lastLineAt = now;
    }
    const finished = event.done >= event.total;
    // The same stage may come again, with another text.
    if (finished) stage = undefined;
    if (!finished && now - lastLineAt < plainLineEverySeconds * 1000) return;
    lastLineAt = now;
    const elapsed = (now - startedAt) / 1000;
    const done = event.done - startedWith;
    // A stage that came and went within a second is no news.
    if (finished && elapsed < 1) return;
    const left = done > 0 ? `${Math.ceil((elapsed / done) * (event.total - event.done))} s left` : "begun";
    const tail = finished ? `${elapsed.toFixed(1)} s` : left;
    stderr.write(`${event.stage}: ${event.done}/${event.total} ${event.unit} · ${tail}\n`);
  };

  const say = (line: string) => {
    if (quiet || json) return;
    takeDown();
    stdout.write(`${line}\n`);
  };

  return {
    report(event) {
      if (event.type === "status") return say(event.message);
      if (quiet) return;
      if (event.type === "diagnostic") {
        const line = `${event.severity === "warning" ? "warning" : "note"} ${event.code}: ${event.message}\n`;
        // A run for several targets comes by the same place several times.
        if (told.has(line)) return;
        told.add(line);
        takeDown();
        stderr.write(line);
      } else if (stderr.isTTY) {
        showBar(event);
      } else {
        showLine(event);
      }
    },
    say,
    result(value, text) {
      stop();
      if (json) stdout.write(`${JSON.stringify(value, null, 2)}\n`);
      else if (!quiet) stdout.write(`${text}\n`);
    },
    stop,
  };
}
