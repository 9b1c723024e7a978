import { LayerfoldError } from "@layerfold/core";

/** Where a queue is. */
export interface QueueAddress {
  readonly url: string;
  /** The same for people: without user and password. */
  readonly label: string;
}

/** @throws QUEUE_INVALID, which never tells the password */
export function queueAddress(url: string | undefined): QueueAddress {
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
  if (url === undefined || !parsed || !/^rediss?:$/.test(parsed.protocol) || parsed.hostname === "") {
    throw new LayerfoldError("QUEUE_INVALID", "not the address of a queue", {
      wanted: "redis://HOST:PORT, or rediss:// for TLS",
      got: url === undefined ? "nothing" : parsed ? `${parsed.protocol}//…` : "no URL",
      where: "--queue",
    });
  }
  const { protocol, host, pathname } = parsed;
  return { url, label: `${protocol}//${host}${pathname === "/" ? "" : pathname}` };
}
