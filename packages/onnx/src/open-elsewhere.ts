import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import type { InferenceSession } from "onnxruntime-node";

/** Opens a session and tells on stdout what came of it. ONNX Runtime's log is the only one to say where nodes went, and goes to stderr. */
const program = `
const [, runtime, settings, file] = process.argv;
const { env, InferenceSession } = require(runtime);
env.logLevel = "verbose";
InferenceSession.create(file || require("node:fs").readFileSync(0), JSON.parse(settings)).then(
  () => process.exit(0),
  (error) => process.stdout.write(error.message, () => process.exit(1)),
);`;

/** What came of opening a session. */
export interface OpenedElsewhere {
  /** What ONNX Runtime said against it; undefined where it opened. */
  readonly refusal: string | undefined;
  /** Nodes that it placed on the CPU, `Operator name` each; `all N` where none has its place elsewhere. */
  readonly onCpu: readonly string[];
}

/**
 * Opens a model in a process of its own, which ends at once: a driver that crashes or writes to the terminal does so there, and what the
 * log says of where nodes were placed can be read. Costs what loading the model costs, and a process (about 0.3 s).
 */
export async function openElsewhere(
  model: Uint8Array | string,
  settings: InferenceSession.SessionOptions,
): Promise<OpenedElsewhere> {
  const runtime = createRequire(import.meta.url).resolve("onnxruntime-node");
  const told = JSON.stringify({ ...settings, logSeverityLevel: 0 });
  const file = typeof model === "string" ? [model] : [];
  const child = spawn(process.execPath, ["--eval", program, runtime, told, ...file], {
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
  });
  // A child that ends before it has read all closes the pipe; its exit tells.
  child.stdin.on("error", () => {});
  child.stdin.end(typeof model === "string" ? "" : model);
  const closed = once(child, "close");
  let refusal = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    refusal += text;
  });
  const onCpu: string[] = [];
  let listed = "";
  for await (const line of createInterface({ input: child.stderr })) {
    const provider = /Node\(s\) placed on \[(\w+)\]/.exec(line)?.[1];
    const node = /VerifyEachNodeIsAssignedToAnEp\]\s+(\w+) \((.*)\)/.exec(line);
    const all = /All nodes placed on \[CPUExecutionProvider\]\. Number of nodes: (\d+)/.exec(line);
    if (all) onCpu.push(`all ${all[1]}`);
    else if (provider !== undefined) listed = provider;
    else if (node && listed === "CPUExecutionProvider") onCpu.push(`${node[1]} ${node[2]}`);
  }
  const [code, signal] = await closed;
  const ended = code === 0 ? undefined : refusal || `the process ended by ${signal ?? `code ${code}`}`;
  return { refusal: ended, onCpu };
}
