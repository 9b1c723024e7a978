import { setTimeout as sleep } from "node:timers/promises";
import { LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";

export interface HubSettings {
  /** Default the public hub. */
  readonly hubUrl?: string | undefined;
  /** For private and gated models; sent to the hub's own origin and to no other. */
  readonly accessToken?: string | undefined;
  /** The folder that holds `models--org--name`, shared with Python's huggingface_hub. */
  readonly cacheDirectory: string;
  /** Seconds without a byte after which a transfer is begun again; default 30. */
  readonly idleTimeout?: number | undefined;
  /** Seconds before the second attempt, doubled for every further one; default 1. */
  readonly retryDelay?: number | undefined;
  /** Attempts in a row that may fail before we give up; default 5. A MiB that came counts as success. */
  readonly attempts?: number | undefined;
}

/** A failure that may pass by itself. */
class Passing extends Error {
  /** Seconds that the server asked to wait. */
  readonly retryAfter: number | undefined;

  constructor(message: string, retryAfter?: number) {
    super(message);
    this.retryAfter = retryAfter;
  }
}

/** The status that the hub answered in place of what was asked for. */
export class HubStatus extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

export interface HubConnection {
  /** Origin and path in front of every address, without a slash at its end. */
  readonly url: string;
  readonly signal?: AbortSignal | undefined;
  /** For small answers, which are read whole: at most 64 MiB each, at most 1000 of them. */
  readonly fetch: typeof fetch;
  /**
   * Reads a file from `written()` on to its end, however often the connection breaks.
   * @param written - bytes that are already there
   * @param take - consumes what comes; `offset` is where it begins, 0 where the server does not know ranges
   */
  read(
    path: string,
    size: number,
    written: () => Promise<number>,
    take: (chunks: AsyncIterable<Uint8Array>, offset: number) => Promise<void>,
  ): Promise<void>;
}

const answerLimit = 2 ** 26;
const answerCount = 1000;
/** Seconds; a server that asks for more is not waited for. */
const longestWait = 120;

/** Errors of a connection that the next attempt need not meet. */
const passingCodes = new Set([
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "ENETUNREACH",
  "UND_ERR_SOCKET",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
]);

/**
 * Speaks to a hub: the token goes to the hub's origin alone, what stalls is cut off, and what may pass by itself (HTTP 429 and 5xx, broken
 * connections, silence) is tried again after a pause that doubles, or as long as `Retry-After` says.
 * @throws HUB_ENDPOINT where the address is none; from its methods HUB_UNREACHABLE, HUB_INVALID, INTERRUPTED, and HubStatus
 */
export function connectHub(settings: HubSettings, ctx: Pick<RunContext, "signal" | "report">): HubConnection {
  const { accessToken, idleTimeout = 30, retryDelay = 1, attempts = 5 } = settings;
  const url = (settings.hubUrl ?? "https://huggingface.co").replace(/\/+$/, "");
  const origin = originOf(url);
  const { signal } = ctx;

  async function request<T>(
    address: string,
    init: RequestInit,
    use: (response: Response, chunks: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    const headers = new Headers(init.headers);
    headers.delete("authorization");
    if (accessToken !== undefined && new URL(address).origin === origin) {
      headers.set("authorization", `Bearer ${accessToken}`);
    }
    const idle = new AbortController();
    const timer = setTimeout(() => idle.abort(), 1000 * idleTimeout);
    try {
      const stop = signal ? AbortSignal.any([signal, idle.signal]) : idle.signal;
      // Where it is sent on to another origin, fetch itself takes the token off.
      const response = await fetch(address, { ...init, headers, signal: stop });
      const { status } = response;
      if (status === 429 || status >= 500) throw new Passing(`HTTP ${status}`, retryAfter(response));
      return await use(response, watched(response, timer));
    } catch (error) {
      throwIfAborted(signal);
      if (idle.signal.aborted) throw new Passing(`nothing came for ${idleTimeout} s`);
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
      if (error instanceof TypeError && passingCodes.has(code ?? "")) throw new Passing(reasonOf(error));
      throw error;
    } finally {
      clearTimeout(timer);
      // Lets go of what was not read.
      idle.abort();
    }
  }

  async function persistently<T>(what: string, attempt: (succeeded: () => void) => Promise<T>): Promise<T> {
    for (let failures = 0; ; ) {
      try {
        return await attempt(() => {
          failures = 0;
        });
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        failures++;
        const wait = error.retryAfter ?? retryDelay * 2 ** (failures - 1);
        if (failures >= attempts || wait > longestWait) {
          throw new LayerfoldError(
            "HUB_UNREACHABLE",
            `the hub does not give what was asked for: ${error.message}`,
            {
              got: wait > longestWait ? `a wish to wait ${wait} s` : `${failures} failures in a row`,
              where: what,
              fault: "environment",
              cause: error,
            },
          );
        }
        ctx.report?.({
          type: "diagnostic",
          severity: "info",
          code: "HUB_RETRY",
          message: `${what}: ${error.message}; tried again in ${wait} s`,
        });
        await sleep(1000 * wait, undefined, { signal }).catch(() => throwIfAborted(signal));
      }
    }
  }

  let answers = 0;
  return {
    url,
    signal,
    fetch: async (input, init = {}) => {
      const address = input instanceof Request ? input.url : String(input);
      if (++answers > answerCount) throw invalid("a list of files that does not end", address);
      return persistently(address, () =>
        request(address, init, async ({ status, headers }, chunks) => {
          const parts: Uint8Array[] = [];
          let size = 0;
          for await (const chunk of chunks) {
            size += chunk.length;
            if (size > answerLimit) throw invalid(`an answer of more than ${answerLimit} bytes`, address);
            parts.push(chunk);
          }
          return new Response(size === 0 ? null : Buffer.concat(parts), { status, headers });
        }),
      );
    },
    async read(path, size, written, take) {
      await persistently(path, async (succeeded) => {
        const before = await written();
        // As the bytes lie: a compressed answer cannot be gone on with.
        const headers: Record<string, string> = { "accept-encoding": "identity" };
        if (before > 0) headers.range = `bytes=${before}-${size - 1}`;
        try {
          await request(`${url}/${path}`, { headers }, async (response, chunks) => {
            if (!response.ok) throw new HubStatus(response.status);
            const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
            if (response.status === 206 && Number(start) !== before) {
              throw invalid(`bytes from ${start} on, not from ${before}`, path);
            }
            await take(chunks, response.status === 206 ? before : 0);
          });
          const missing = size - (await written());
          if (missing > 0) throw new Passing(`the file ended ${missing} bytes early`);
        } finally {
          if ((await written()) - before >= 2 ** 20) succeeded();
        }
      });
    },
  };
}

async function* watched(response: Response, timer: NodeJS.Timeout): AsyncIterable<Uint8Array> {
  for await (const chunk of response.body ?? []) {
    timer.refresh();
    yield chunk;
  }
}

/** Seconds, which HTTP gives as a number or as a date. */
function retryAfter({ headers }: Response): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}

function originOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed && /^https?:$/.test(parsed.protocol)) return parsed.origin;
  throw new LayerfoldError("HUB_ENDPOINT", "not the address of a hub", {
    wanted: "https://HOST",
    got: url,
    where: "HF_ENDPOINT",
  });
}

function invalid(got: string, where: string): LayerfoldError {
  return new LayerfoldError("HUB_INVALID", "the hub's answer cannot be used", {
    got,
    where,
    fault: "environment",
  });
}

/** `fetch` says "fetch failed" and leaves the reason to its cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, code } = (error.cause ?? error) as NodeJS.ErrnoException;
  return message || code || error.message;
}
