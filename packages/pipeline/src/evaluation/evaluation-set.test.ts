import { join } from "node:path";
import { data } from "@layerfold/foldling";
import { expect, it } from "vitest";
import { readCalibration } from "../calibration/read-calibration.js";
import { openFoldling } from "../foldling.test.fixture.js";
import { readEvaluationSet, separateCalibration } from "./evaluation-set.js";

it("leaves out what the model made up itself and is judged on, and refuses what was given", async () => {
  const { tokenizer, calibrated, run, close } = await openFoldling();
  try {
    const documents = join(data, "calibration.jsonl");
    const given = await readCalibration(
      `${documents}[0:20]:0.5,self:0.5`,
      calibrated,
      { calibrationTokens: 1024 },
      run,
    );
    const [file, self] = given.facts;
    const evaluationSet = await readEvaluationSet({ texts: [`${documents}[20:40]`] }, 512, tokenizer, run);
    const unseen = separateCalibration(given, evaluationSet, false);
    expect(unseen).toMatchObject({ excluded: [], contaminated: [], unseen: ["calibration.jsonl[20:40]"] });
    expect(unseen.calibration).toEqual(given);

    const [text] = evaluationSet.texts;
    const own = given.sequences[file.windows + 1];
    const alike = { ...evaluationSet, texts: [{ ...text, sequences: [...text.sequences, own] }] };
    const { calibration, excluded, contaminated } = separateCalibration(given, alike, false);
    expect(excluded).toEqual([expect.stringContaining(`1 of ${self.windows} windows`)]);
    expect(contaminated).toEqual([]);
    expect(calibration.sequences).toEqual(given.sequences.filter((sequence) => sequence !== own));
    expect(calibration.tokenCount).toBe(given.tokenCount - own.ids.length);
    expect(calibration.facts).toEqual([
      file,
      { ...self, windows: self.windows - 1, tokens: self.tokens - own.ids.length },
    ]);

    const seen = { ...evaluationSet, texts: [{ ...text, sequences: given.sequences.slice(0, 2) }] };
    expect(() => separateCalibration(given, seen, false)).toThrow(/also stands in the calibration/);
    expect(separateCalibration(given, seen, true).contaminated).toHaveLength(1);
  } finally {
    await close();
  }
});
