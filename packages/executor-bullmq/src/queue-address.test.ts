import { expect, it } from "vitest";
import { queueAddress } from "./queue-address.js";

it("tells where a queue is without its password", () => {
  expect(queueAddress("redis://user:hush@example.org:6380/2").label).toBe("redis://example.org:6380/2");
  expect(queueAddress("rediss://example.org").label).toBe("rediss://example.org");
});

it.each([undefined, "", "localhost:6379", "http://user:hush@host", "redis://"])("refuses %s", (url) => {
  expect(() => queueAddress(url)).toThrow(/^((?!hush).)*$/);
  expect(() => queueAddress(url)).toThrow(expect.objectContaining({ code: "QUEUE_INVALID" }));
});
