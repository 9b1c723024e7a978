// npm run fuzz -- [--minutes 60] [--target ID …] [--seed N] [--path PATH] [--failures FOLDER]: has every reader read changed files until
// the time is over, prints what failed, and leaves the failing inputs in a folder.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fuzz, reproduction } from "./campaign.js";
import { ReaderProcess } from "./reader-process.js";

const { values } = parseArgs({
  options: {
    target: { type: "string", multiple: true },
    minutes: { type: "string", default: "60" },
    seed: { type: "string" },
    path: { type: "string" },
    failures: { type: "string", default: join(tmpdir(), "layerfold-fuzz") },
  },
});
const { path, failures } = values;
const reader = new ReaderProcess({ deadline: 10_000, memory: 2 ** 31 });
try {
  const ids = await reader.targets();
  const chosen = values.target ?? ids;
  const unknown = chosen.find((id) => !ids.includes(id));
  if (unknown !== undefined) throw new Error(`no target ${unknown}: ${ids.join(", ")}`);
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const each = (Number(values.minutes) * 60_000) / chosen.length;
  for (const id of chosen) {
    const { tried, answers, findings } = await fuzz(
      id,
      reader,
      { seed, path, until: Date.now() + each },
      failures,
    );
    const counts = [...answers].sort((a, b) => b[1] - a[1]).map(([answer, count]) => `${answer} ${count}`);
    console.log(
      `${id}: ${tried} inputs from seed ${seed}, ${findings.length} kinds of failure; ${counts.join(", ")}`,
    );
    for (const finding of findings) {
      console.log(
        `  ${finding.what}\n    ${reproduction(finding)}\n    ${finding.folder}\n    ${finding.detail.replaceAll("\n", "\n    ")}`,
      );
      process.exitCode = 1;
    }
  }
} finally {
  reader.close();
}
