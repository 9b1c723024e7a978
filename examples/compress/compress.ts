import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { checkpoint, data } from "@layerfold/foldling";
import { type CompressResult, compress } from "layerfold";

const texts = join(data, "calibration.jsonl");
/** Two texts (here two parts of one), half of the tokens from each. */
export const calibration = `${texts}[0:30]:0.5,${texts}[100:130]:0.5`;

/**
 * One call does the whole thing: what the layers do to the calibration text, which of them fold together, the fold itself, and how well it does
 * beside the same layers merely dropped.
 *
 * @param out - folder for the checkpoint, results.json, report.html and manifest.json
 */
export function foldFoldling(out: string): Promise<CompressResult> {
  return compress(
    {
      model: checkpoint,
      layers: [14],
      method: "mka",
      calibration,
      evaluate: [`${join(data, "validation.jsonl")}[0:20]`],
      out,
    },
    { seed: 1, report: (event) => event.type === "status" && console.error(event.message) },
  );
}

// As a program: node compress.ts (Node 22.18 or newer runs TypeScript by itself).
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const folder = await mkdtemp(join(tmpdir(), "layerfold-"));
  const { rows } = await foldFoldling(join(folder, "folded"));
  for (const { label, perplexity, perplexity_ratio } of rows)
    console.log(label, perplexity, perplexity_ratio);
  await rm(folder, { recursive: true });
}
