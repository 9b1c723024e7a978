import { expect, it } from "vitest";
import { slurmOptions, workBytes } from "./slurm-options.js";

it("reads what --set gives: numbers for texts, one line for a list", () => {
  expect(slurmOptions({ time: 30, account: 17, memory: "16G", setup: "module load nodejs" })).toEqual({
    ...{ time: "30", account: "17", memory: "16G", setup: ["module load nodejs"] },
    ...{ cpus: 1, requeues: 10, warning: 60, arguments: [], poll: 5 },
  });
});

it.each([
  [undefined, undefined],
  ["1000", 0.9 * 1000 * 2 ** 20],
  ["16G", 0.9 * 16 * 2 ** 30],
  ["2T", 0.9 * 2 * 2 ** 40],
])("of the memory %s a worker may plan with %s bytes", (memory, bytes) => {
  expect(workBytes({ memory })).toBe(bytes === undefined ? undefined : Math.floor(bytes));
});

it.each([
  [{ partitions: "main" }, "OPTION_UNKNOWN"],
  [{ cpus: 0 }, "OPTION_INVALID"],
  [{ memory: "16GB" }, "OPTION_INVALID"],
])("refuses %j", (options, code) => {
  expect(() => slurmOptions(options)).toThrow(expect.objectContaining({ code }));
});
