import { join } from "node:path";
import { openCheckpoint, openTokenizer } from "@layerfold/checkpoint";
import { expect, it } from "vitest";
import { readCalibration } from "./calibration.js";
import { foldling } from "./foldling.js";
import { holdApart, readJudgement } from "./judgement.js";
import { createRun } from "./run.js";

it("leaves out what the model made up itself and is judged on, and refuses what was given", async () => {
  const { checkpoint: folder, data } = foldling();
  const checkpoint = await openCheckpoint(folder);
  const run = createRun({ quiet: true });
  try {
    const tokenizer = await openTokenizer(folder);
    const documents = join(data, "calibration.jsonl");
    const given = await readCalibration(
      `${documents}[0:20]:0.5,self:0.5`,
      { checkpoint, tokenizer },
      { calibrationTokens: 1024 },
      run,
    );
    const [file, self] = given.facts;
    const judgement = await readJudgement({ texts: [`${documents}[20:40]`] }, 512, tokenizer, run);
    const fresh = holdApart(given, judgement, false);
    expect(fresh).toMatchObject({ leftOut: [], flattered: [], fresh: ["calibration.jsonl[20:40]"] });
    expect(fresh.calibration).toEqual(given);

    const [text] = judgement.texts;
    const own = given.sequences[file.windows + 1];
    const alike = { ...judgement, texts: [{ ...text, sequences: [...text.sequences, own] }] };
    const { calibration, leftOut, flattered } = holdApart(given, alike, false);
    expect(leftOut).toEqual([expect.stringContaining(`1 of ${self.windows} windows`)]);
    expect(flattered).toEqual([]);
    expect(calibration.sequences).toEqual(given.sequences.filter((sequence) => sequence !== own));
    expect(calibration.tokenCount).toBe(given.tokenCount - own.ids.length);
    expect(calibration.facts).toEqual([
      file,
      { ...self, windows: self.windows - 1, tokens: self.tokens - own.ids.length },
    ]);

    const seen = { ...judgement, texts: [{ ...text, sequences: given.sequences.slice(0, 2) }] };
    expect(() => holdApart(given, seen, false)).toThrow(/also stands in the calibration/);
    expect(holdApart(given, seen, true).flattered).toHaveLength(1);
  } finally {
    await checkpoint.close();
  }
});
