import { LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import type { QueueAddress } from "./queue-address.js";

/** Seconds that the queue may be gone before a process gives up. */
export const defaultPatience = 300;
/** Seconds between two tries to reach it again, at most. */
const lastRetry = 2;
/** Seconds that the first try may take. */
const firstConnect = 10;

/** What BullMQ's connections are made of: the first try fails at once, later ones are repeated for as long as anybody waits. */
export interface LinkOptions {
  readonly url: string;
  readonly maxRetriesPerRequest: null;
  readonly connectTimeout: number;
  readonly retryStrategy: (times: number) => number | null;
}

/** What a link asks of what it watches: a `Queue` or a `Worker`. */
interface Linked {
  waitUntilReady(): Promise<unknown>;
  on(event: "error", listener: (error: Error) => void): unknown;
  readonly client: Promise<{ on(event: string, listener: () => void): unknown; readonly status: string }>;
}

/** Whether the queue answers, and for how long one waits for it. */
export interface QueueLink {
  readonly connection: LinkOptions;
  /** @throws QUEUE_UNREACHABLE */
  open(...linked: readonly Linked[]): Promise<void>;
  /** Says nothing more of it: who leaves is not left. */
  leave(): void;
  /** Whether it answers. @throws QUEUE_LOST once it has been gone for longer than one waits */
  stands(): boolean;
  /** Asks something of the queue; while that is gone, waits. @throws QUEUE_LOST, INTERRUPTED */
  ask<T>(question: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

/** @param report - hears when the queue is gone, and when it is back */
export function queueLink(
  { url, label }: QueueAddress,
  patience: number,
  report: (event: Parameters<NonNullable<RunContext["report"]>>[0]) => void,
): QueueLink {
  let opened = false;
  let left = false;
  let goneSince: number | undefined;
  const connection: LinkOptions = {
    url,
    maxRetriesPerRequest: null,
    connectTimeout: firstConnect * 1000,
    retryStrategy: (times) => (opened ? Math.min(times * 200, lastRetry * 1000) : null),
  };
  const secondsGone = () => (goneSince === undefined ? 0 : (performance.now() - goneSince) / 1000);
  const tell = (code: string, message: string) =>
    report({ type: "diagnostic", severity: "warning", code, message });

  const watch = async (linked: Linked) => {
    const client = await linked.client;
    client.on("close", () => {
      if (left || goneSince !== undefined) return;
      goneSince = performance.now();
      tell("QUEUE_GONE", `the queue at ${label} does not answer; it is waited for, ${patience} s at most`);
    });
    client.on("ready", () => {
      if (goneSince === undefined) return;
      const seconds = secondsGone().toFixed(0);
      goneSince = undefined;
      tell("QUEUE_BACK", `the queue at ${label} is back after ${seconds} s`);
    });
  };

  const stands = () => {
    if (secondsGone() > patience) {
      throw new LayerfoldError("QUEUE_LOST", "the queue is gone, and what is finished is kept in the store", {
        wanted: `an answer within ${patience} s`,
        where: label,
        fault: "environment",
      });
    }
    return goneSince === undefined;
  };

  return {
    connection,
    stands,
    leave() {
      left = true;
    },
    async open(...linked) {
      let last: Error | undefined;
      for (const one of linked) one.on("error", (error) => (last ??= error));
      try {
        for (const one of linked) await one.waitUntilReady();
      } catch (error) {
        throw new LayerfoldError("QUEUE_UNREACHABLE", "the queue cannot be reached", {
          got: without(url, (last ?? (error as Error)).message),
          where: label,
          fault: "environment",
        });
      }
      opened = true;
      await watch(linked[0]);
    },
    async ask(question, signal) {
      const over = new AbortController();
      const given = new Promise<never>((_, reject) => {
        const look = () => {
          try {
            throwIfAborted(signal);
            stands();
          } catch (error) {
            reject(error);
          }
        };
        const timer = setInterval(look, 100);
        over.signal.addEventListener("abort", () => clearInterval(timer));
      });
      const asked = question();
      // Of a question that nobody waits for any more.
      asked.catch(() => undefined);
      try {
        return await Promise.race([asked, given]);
      } finally {
        over.abort();
      }
    },
  };
}

/** A message without the password of an address. */
function without(url: string, message: string): string {
  const { password } = new URL(url);
  return [password, decodeURIComponent(password)]
    .filter((secret) => secret !== "")
    .reduce((text, secret) => text.replaceAll(secret, "…"), message);
}
