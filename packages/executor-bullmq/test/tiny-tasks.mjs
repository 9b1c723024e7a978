// Tasks that take next to no time, for workers and for those who ask. `log` is a file that gets a line for every one that is made.
import { appendFileSync } from "node:fs";

export function tinyTasks({ defineTask, jsonCodec }) {
  const codec = jsonCodec();
  const made = ({ log, value }) => log && appendFileSync(log, `${value}\n`);
  return {
    constant: defineTask({
      kind: "constant",
      code: "1",
      codec,
      async run(parameters) {
        made(parameters);
        return parameters.value;
      },
    }),
    // Of tasks that it reads, the sum.
    sum: defineTask({
      kind: "sum",
      code: "1",
      codec,
      async run(parameters, inputs) {
        made(parameters);
        const values = await Promise.all(Object.values(inputs).map((input) => input.read()));
        return values.reduce((total, value) => total + value, 0);
      },
    }),
    // Keeps its process busy without a break, as products of large matrices do.
    busy: defineTask({
      kind: "busy",
      code: "1",
      codec,
      async run(parameters) {
        made(parameters);
        const until = performance.now() + parameters.milliseconds;
        while (performance.now() < until);
        return parameters.value;
      },
    }),
    failing: defineTask({
      kind: "failing",
      code: "1",
      codec,
      async run(parameters) {
        made(parameters);
        throw new Error("this one never works");
      },
    }),
    // Kills its process the first time.
    deadly: defineTask({
      kind: "deadly",
      code: "1",
      codec,
      async run(parameters, _, ctx) {
        made(parameters);
        const { existsSync, writeFileSync } = await import("node:fs");
        const mark = `${await ctx.scratch()}/seen`;
        if (existsSync(mark)) return parameters.value;
        writeFileSync(mark, "");
        process.kill(process.pid, "SIGKILL");
      },
    }),
  };
}
