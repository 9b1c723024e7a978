import { expect, it } from "vitest";
import { hasEnded, parseMaxArraySize, parseQueue } from "./slurm-commands.js";

it("finds MaxArraySize in what scontrol prints", () => {
  const config =
    "MailProg                = /bin/mail\nMaxArraySize            = 1001\nMaxDBDMsgs              = 20008\n";
  expect(parseMaxArraySize(config)).toBe(1001);
  expect(parseMaxArraySize("Slurmctld(primary) at host is DOWN\n")).toBeUndefined();
});

it("finds the elements of job arrays in what squeue prints, and nothing else", () => {
  const text = "17_0|RUNNING\n17_12|OUT_OF_MEMORY\n18_N/A|PENDING\n\n";
  expect([...parseQueue(text)]).toEqual([
    ["17_0", "RUNNING"],
    ["17_12", "OUT_OF_MEMORY"],
  ]);
});

it.each([
  ["PENDING", false],
  ["RUNNING", false],
  ["COMPLETING", false],
  ["REQUEUE_HOLD", false],
  ["COMPLETED", true],
  ["NODE_FAIL", true],
  [undefined, true],
])("an element in the state %s has ended: %s", (state, ended) => {
  expect(hasEnded(state)).toBe(ended);
});
