import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { LayerfoldError, throwIfAborted } from "@layerfold/core";

export interface ChatTemplateLimits {
  /** Seconds; default 10. */
  readonly timeLimit?: number;
  /** Default 256 MiB. */
  readonly memoryMebibytes?: number;
}

/** A template is a program of whoever made the model, so it runs where it can be stopped. */
const render = `
const { parentPort, workerData } = require("node:worker_threads");
const { library, template, values } = workerData;
try {
  parentPort.postMessage({ text: new (require(library).Template)(template).render(values) });
} catch (error) {
  parentPort.postMessage({ failure: error instanceof Error ? error.message : String(error) });
}`;

/**
 * Renders a chat template (Jinja).
 *
 * @param where - what to name in errors
 * @throws CHAT_TEMPLATE_FAILED with the words of the template or of the language, CHAT_TEMPLATE_SLOW, INTERRUPTED
 */
export async function renderChatTemplate(
  template: string,
  values: Readonly<Record<string, unknown>>,
  where: string,
  signal?: AbortSignal,
  { timeLimit = 10, memoryMebibytes = 256 }: ChatTemplateLimits = {},
): Promise<string> {
  const library = createRequire(import.meta.url).resolve("@huggingface/jinja");
  const worker = new Worker(render, {
    eval: true,
    execArgv: [],
    workerData: { library, template, values },
    resourceLimits: { maxOldGenerationSizeMb: memoryMebibytes },
  });
  const stop = () => void worker.terminate();
  signal?.addEventListener("abort", stop, { once: true });
  let slow = false;
  const timer = setTimeout(() => {
    slow = true;
    stop();
  }, 1000 * timeLimit);
  try {
    const answer = await new Promise<{ text?: string; failure?: string }>((resolve) => {
      worker.on("message", resolve);
      worker.on("error", ({ message }) => resolve({ failure: message }));
      worker.on("exit", () => resolve({ failure: "it ended without a text" }));
    });
    throwIfAborted(signal);
    if (slow) {
      throw new LayerfoldError("CHAT_TEMPLATE_SLOW", "the chat template does not come to an end", {
        wanted: `${timeLimit} s at most`,
        where,
      });
    }
    if (answer.text !== undefined) return answer.text;
    const reason = answer.failure?.replaceAll(/\s+/g, " ");
    throw new LayerfoldError("CHAT_TEMPLATE_FAILED", `the chat template fails: ${reason}`, { where });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    await worker.terminate();
  }
}
