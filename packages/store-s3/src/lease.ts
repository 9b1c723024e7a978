import {
  type Holder,
  holderRuns,
  type Lease,
  type LeaseHolder,
  type LeaseOptions,
  newHolder,
} from "@layerfold/tasks";
import type { Bucket } from "./bucket.js";

/** What a lease's object holds. */
interface LeaseText extends Holder {
  /** Holders before this one that died of it. */
  readonly deaths: number;
  /** Signs of life so far: each changes the object's tag. */
  readonly beats: number;
}

/**
 * Leases as objects `leases/DIGEST`, made and changed by conditional writes alone, so that no order of events gives two holders. A process of this
 * host that is gone is known at once; of another host, one waits until the object's tag has not changed for `staleSeconds` of one's own clock.
 */
export function bucketLeases(
  bucket: Bucket,
  { heartbeatSeconds = 10, staleSeconds = 120 }: LeaseOptions = {},
): (digest: string) => Promise<Lease | undefined> {
  /** When a lease's sign of life was first seen as it is. */
  const watched = new Map<string, { readonly etag: string; readonly since: number }>();

  const isDead = async (key: string, text: LeaseText | undefined, etag: string): Promise<boolean> => {
    const runs = text && (await holderRuns(text));
    if (runs !== undefined) return !runs;
    const now = performance.now();
    const before = watched.get(key);
    if (before?.etag === etag) return now - before.since > staleSeconds * 1000;
    watched.set(key, { etag, since: now });
    return false;
  };

  return async (digest) => {
    const key = keyOf(digest);
    const holder = await newHolder();
    const first: LeaseText = { ...holder, deaths: 0, beats: 0 };
    const taken = await bucket.write(key, textOf(first), "absent");
    if (taken !== undefined) return held(bucket, key, first, taken, heartbeatSeconds);
    const standing = await bucket.read(key);
    // Released in this moment: whoever asks will ask again.
    if (!standing) return undefined;
    const before = parse(standing.text);
    // Taken by the first of several tries, whose answer was lost.
    if (before?.token === first.token) return held(bucket, key, first, standing.etag, heartbeatSeconds);
    if (!(await isDead(key, before, standing.etag))) return undefined;
    watched.delete(key);
    const next: LeaseText = { ...holder, deaths: (before?.deaths ?? 0) + 1, beats: 0 };
    const etag = await writeOwn(bucket, key, next, { etag: standing.etag });
    return etag === undefined ? undefined : held(bucket, key, next, etag, heartbeatSeconds);
  };
}

/** Names of the leases that stand. */
export async function leaseNames(bucket: Bucket): Promise<string[]> {
  const names: string[] = [];
  for await (const { key } of bucket.list("leases/")) names.push(key.slice("leases/".length));
  return names;
}

/** Who holds leases, by what they are of; what died on this host is left out. */
export async function leaseHolders(bucket: Bucket): Promise<Map<string, LeaseHolder>> {
  const holders = new Map<string, LeaseHolder>();
  for await (const { key, writtenAt } of bucket.list("leases/")) {
    const standing = await bucket.read(key);
    const holder = standing && parse(standing.text);
    if (!holder || (await holderRuns(holder)) === false) continue;
    const silentSeconds = Math.max(0, (Date.now() - writtenAt) / 1000);
    const { host, process } = holder;
    holders.set(key.slice("leases/".length), { host, process, silentSeconds });
  }
  return holders;
}

const keyOf = (digest: string) => `leases/${digest}`;
const textOf = (text: LeaseText) => `${JSON.stringify(text)}\n`;

function held(bucket: Bucket, key: string, first: LeaseText, tag: string, heartbeatSeconds: number): Lease {
  let [text, etag]: [LeaseText, string | undefined] = [first, tag];
  let beating: Promise<void> | undefined;
  const beat = async () => {
    const next = { ...text, beats: text.beats + 1 };
    try {
      // Taken over: the work goes on all the same.
      const written = await writeOwn(bucket, key, next, { etag: etag! });
      [text, etag] = [next, written];
    } catch {
      // The server is away; the next sign of life may reach it.
    }
  };
  const timer = setInterval(() => {
    if (etag === undefined) clearInterval(timer);
    else if (!beating) {
      beating = beat().finally(() => {
        beating = undefined;
      });
    }
  }, heartbeatSeconds * 1000);
  timer.unref();
  return {
    deaths: first.deaths,
    async release() {
      clearInterval(timer);
      await beating;
      if (etag === undefined) return;
      // Not every server knows a condition here: what another has taken over meanwhile is left alone as far as can be seen.
      const standing = await bucket.read(key);
      if (standing && parse(standing.text)?.token === text.token) await bucket.remove(key, standing.etag);
      etag = undefined;
    },
  };
}

/** Writes under a condition. Where that is not met by what was written itself, in a try whose answer was lost, it was met. */
async function writeOwn(
  bucket: Bucket,
  key: string,
  text: LeaseText,
  condition: { readonly etag: string },
): Promise<string | undefined> {
  const etag = await bucket.write(key, textOf(text), condition);
  if (etag !== undefined) return etag;
  const standing = await bucket.read(key);
  const found = standing && parse(standing.text);
  return found?.token === text.token && found.beats === text.beats ? standing!.etag : undefined;
}

function parse(text: string): LeaseText | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
