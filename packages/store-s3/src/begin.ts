import { LayerfoldError } from "@layerfold/core";
import { checkMark, foreignStore, markFile, markText } from "@layerfold/tasks";
import type { Bucket } from "./bucket.js";

/** @throws STORE_FOREIGN, STORE_OTHER_VERSION, BUCKET_UNCONDITIONAL, and `bucketError`'s codes */
export async function beginStore(bucket: Bucket, location: string): Promise<void> {
  if (!(await standsIn(bucket))) {
    const foreign = await foreignKeys(bucket);
    if (foreign.length > 0) throw foreignStore(location, foreign);
    await bucket.write(markFile, markText, "absent");
  }
  const mark = await bucket.read(markFile);
  if (mark) checkMark(mark.text, location);
  // Without conditions two processes would each believe that they alone hold a lease.
  if ((await bucket.write(markFile, markText, "absent")) !== undefined) {
    throw new LayerfoldError("BUCKET_UNCONDITIONAL", "the bucket's server does not heed conditional writes", {
      wanted: "If-None-Match and If-Match of PutObject",
      where: location,
      fault: "environment",
    });
  }
}

/** @throws STORE_FOREIGN where there is no store, STORE_OTHER_VERSION where it is one of another layout */
export async function checkStore(bucket: Bucket, location: string): Promise<void> {
  const mark = await bucket.read(markFile);
  if (!mark) throw foreignStore(location, await foreignKeys(bucket));
  checkMark(mark.text, location);
}

export function standsIn(bucket: Bucket): Promise<boolean> {
  return bucket.has(markFile);
}

/** The first keys that are no store's. */
export async function foreignKeys(bucket: Bucket): Promise<string[]> {
  const foreign: string[] = [];
  for await (const { key } of bucket.list("")) {
    if (key !== markFile && !own.some((pattern) => pattern.test(key))) foreign.push(key);
    if (foreign.length >= 3) break;
  }
  return foreign;
}

const own = [
  /^artefacts\/[^/]+\/[0-9a-f]{64}\/(artefact\.json$|[0-9a-f-]{36}\/)/,
  /^leases\/[^/]+$/,
  /^stages\/[0-9a-f]+\.json$/,
  /^failures\/[0-9a-f]{64}\.json$/,
];
