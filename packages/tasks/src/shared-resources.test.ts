import { expect, it } from "vitest";
import { sharedResources } from "./shared-resources.js";
import type { Share } from "./task.js";

/** Opens things that tell when they are opened and closed. */
function openers() {
  const log: string[] = [];
  const open =
    (name: string, bytes = 0, needs?: (share: Share) => Promise<unknown>) =>
    async (share: Share) => {
      await needs?.(share);
      log.push(`+${name}`);
      return { name, bytes, close: async () => void log.push(`-${name}`) };
    };
  return { log, open };
}

it("keeps what lies idle as far as it fits, and always what the last task used", async () => {
  const { log, open } = openers();
  const shared = sharedResources({ idleBytes: 100 });
  const task = async (...things: [string, number][]) => {
    const { use, end } = shared.scope();
    for (const [name, bytes] of things) await use(name, open(name, bytes));
    await end();
  };
  await task(["a", 60]);
  await task(["b", 1000], ["c", 1000]);
  expect(log).toEqual(["+a", "+b", "+c"]);
  // b and c no longer are the last; a was asked for before them, but fits.
  await task(["d", 40]);
  expect(log.slice(3)).toEqual(["+d", "-c", "-b"]);
  await task(["a", 60]);
  expect(log.slice(6)).toEqual([]);
  await shared.close();
  expect(log.slice(6).sort()).toEqual(["-a", "-d"]);
});

it("closes nothing that an open one stands on, or that is used", async () => {
  const { log, open } = openers();
  const shared = sharedResources({ idleBytes: 0 });
  const model = open("model", 50);
  const logits = open("logits", 10, (share) => share("model", model));
  const first = shared.scope();
  await first.use("logits", logits);
  const other = shared.scope();
  await other.use("other", open("other", 1));
  await first.end();
  await other.end();
  // The last one used neither; logits gives way, and with it the model.
  expect(log).toEqual(["+model", "+logits", "+other", "-logits", "-model"]);
  const again = shared.scope();
  await again.use("logits", logits);
  await again.end();
  expect(log.slice(5)).toEqual(["+model", "+logits", "-other"]);
  await shared.close();
  expect(log.slice(8)).toEqual(["-logits", "-model"]);
});

it("closes what bears a part of a key, where nobody uses it", async () => {
  const { log, open } = openers();
  const shared = sharedResources();
  const { use, end } = shared.scope();
  await use("decoder 12", open("a"));
  await use("decoder 34", open("b"));
  await shared.close("12");
  expect(log).toEqual(["+a", "+b"]);
  await end();
  await shared.close("12");
  expect(log).toEqual(["+a", "+b", "-a"]);
});

it("opens again what could not be opened", async () => {
  const shared = sharedResources();
  const { log, open } = openers();
  const { use, end } = shared.scope();
  const failing = async (share: Share) => {
    await share("base", open("base"));
    throw new Error("no");
  };
  await expect(use("x", failing)).rejects.toThrow("no");
  await use("x", open("x"));
  await end();
  await shared.close();
  expect(log).toEqual(["+base", "+x", "-x", "-base"]);
});
