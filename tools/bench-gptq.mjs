// GPTQ of a model by `layerfold quantize` and by plain torch (tools/gptq_reference.py), one after the other on this machine: seconds and peak
// memory, wall and processor time (which a busy machine distorts less). Needs a Python with torch and transformers for the second: LAYERFOLD_PYTHON, else python3; without it the first is still measured.
// Usage: node tools/bench-gptq.mjs MODEL TEXT [SEQUENCES 128] [LENGTH 512] [GROUP 64]
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [model, text, sequences = "128", length = "512", group = "64"] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), "layerfold-gptq-"));
const report = (who, seconds, processor, bytes) =>
  console.log(
    `${who}: ${seconds.toFixed(1)} s (${processor.toFixed(1)} s of processor time), peak ${(bytes / 2 ** 30).toFixed(2)} GiB`,
  );
try {
  const tell =
    "process.on('exit',()=>{const r=process.resourceUsage();console.error('@'+r.maxRSS*1024+' '+process.uptime()+' '+(r.userCPUTime+r.systemCPUTime)/1e6)})";
  const ours = spawnSync(
    process.execPath,
    [
      "--import",
      `data:text/javascript,${encodeURIComponent(tell)}`,
      join(root, "packages/cli/bin/layerfold.js"),
      ...["quantize", model, "--scheme", `gptq-w4g${group}`, "--calibration", text, "--window", length],
      ...["--calibration-tokens", `${sequences * length}`, "--out", join(scratch, "out"), "--quiet"],
    ],
    { encoding: "utf8" },
  );
  const measured = /@(\d+) ([\d.]+) ([\d.]+)/.exec(ours.stderr);
  if (ours.status !== 0 || !measured) throw new Error(ours.stderr);
  // The whole process: reading the text, quantising, and writing the checkpoint.
  const seconds = Number(measured[2]);
  const processor = Number(measured[3]);
  report("layerfold", seconds, processor, Number(measured[1]));

  const python = process.env.LAYERFOLD_PYTHON ?? "python3";
  if (spawnSync(python, ["-c", "import torch, transformers"]).status !== 0) {
    console.log(`torch skipped: ${python} with torch and transformers is not at hand`);
  } else {
    const script = join(root, "tools/gptq_reference.py");
    const output = execFileSync(python, [script, model, text, sequences, length, "4", group], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    // Without loading the model and the text.
    const theirs = JSON.parse(output.trim().split("\n").at(-1));
    report(
      `torch ${theirs.torch}, transformers ${theirs.transformers}`,
      theirs.seconds,
      theirs.processor_seconds,
      theirs.peak_rss_bytes,
    );
    const times = (a, b) => (a / b).toFixed(2);
    console.log(
      `layerfold at ${times(theirs.seconds, seconds)} x its speed, ${times(theirs.processor_seconds, processor)} x by processor time`,
    );
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
