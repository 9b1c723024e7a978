import {
  type Documents,
  readDocuments,
  type TextRange,
  type Tokenizer,
  type TokenSequence,
  type TokenSequences,
  tokenWindows,
} from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { answeredQuestions, answeredTexts } from "@layerfold/evaluate";
import type { WeighedAnswers } from "../evidence/judged-text.js";
import { readBenchmarkRows, readQuestionRows } from "../inputs/open-model.js";
import { fileSource, parseCalibration, sourceName, type TextSource } from "../inputs/text-source.js";
import { questionWindow, windowFor } from "../inputs/window.js";
import { type DataFact, factName, textFact } from "../manifest.js";
import { taskOf } from "../module-path.js";
import type { Run } from "../run.js";
import type { SelfTextOptions } from "./self-text.js";

export interface CalibrationOptions {
  /** Default 512, or the model's context where that is shorter. */
  readonly window?: number | undefined;
  /** Tokens of all texts together. Absent or `auto`: as many as the shares allow; of `self` alone 16,384. */
  readonly calibrationTokens?: number | "auto" | undefined;
  /** For `self`; default 1. */
  readonly selfTemperature?: number | undefined;
}

/** What calibration looks at, and whose tokenizer and context it is cut for. */
export interface CalibratedModel {
  readonly tokenizer: Tokenizer;
  /** Most tokens that the model takes at once. */
  readonly context: number;
  /** Makes up text; needed for `self`. */
  readonly selfText?: (
    options: Required<Omit<SelfTextOptions, "place">>,
  ) => Promise<readonly TokenSequence[]>;
}

/** The calibration's tokens, and where they come from. */
export interface Calibration extends TokenSequences {
  readonly facts: readonly CalibrationFact[];
  /** Whether it holds a stream, whose windows end anywhere. */
  readonly hasStream: boolean;
}

/** What calibration saw of one text. */
export interface CalibrationFact extends DataFact {
  /** Of the calibration's tokens. */
  readonly share: number;
  readonly tokens: number;
  /** Sequences, each of which the model sees alone. */
  readonly windows: number;
  /** That text of the model's own was drawn at. */
  readonly temperature?: number;
}

const defaultSelfTokens = 16_384;

/**
 * Reads a calibration such as `a.txt:0.5,b.jsonl[200:]:0.4,piqa:rows.jsonl:0.1` or `self`. Of each text windows are taken evenly from its
 * whole length, as many as its share asks for; the same arguments and seed give the same tokens.
 * @throws TEXT_SOURCE, SELF_TEXT, WINDOW_TOO_LONG, CALIBRATION_TOO_SMALL, and what reading texts and benchmarks throws
 */
export async function readCalibration(
  sources: string | readonly TextSource[],
  model: CalibratedModel,
  options: CalibrationOptions,
  run: Run,
): Promise<Calibration> {
  const parsed = typeof sources === "string" ? parseCalibration(sources) : sources;
  const window = windowFor(options.window, model.context);
  const texts = await Promise.all(
    parsed.map(async (source) => ({
      source,
      share: source.share ?? 1 / parsed.length,
      ...(await documentsOf(source, run)),
    })),
  );
  const windowsOf = ({ source, documents, range }: (typeof texts)[number], maxTokens?: number) =>
    documents &&
    tokenWindows(
      documents,
      model.tokenizer,
      { window, range, maxTokens, spread: true, keepEnd: source.task !== undefined },
      run.ctx.report,
    );
  // With no number given, the text that has the least for its share decides.
  const asked = options.calibrationTokens === "auto" ? undefined : options.calibrationTokens;
  const whole = asked === undefined ? texts.map((text) => windowsOf(text)) : undefined;
  const total =
    asked ??
    texts.reduce(
      (least, { share }, i) => Math.min(least, (whole?.[i]?.tokenCount ?? Infinity) / share),
      Infinity,
    );
  const tokens = total === Infinity ? defaultSelfTokens : total;

  const fits = (i: number) => (whole?.[i]?.tokenCount ?? Infinity) <= Math.round(tokens * texts[i].share);
  const least = Math.min(
    ...texts.filter(({ documents }, i) => documents && !fits(i)).map(({ share }) => share),
  );
  if (Math.round(tokens * least) < window) {
    throw new LayerfoldError("CALIBRATION_TOO_SMALL", "a text's calibration tokens do not fill one window", {
      wanted: `at least ${Math.ceil(window / least)} tokens (a window of ${window} of every text), or a shorter --window`,
      got: `${Math.floor(tokens)}`,
      where: asked === undefined ? "--calibration" : "--calibration-tokens",
    });
  }
  const parts: {
    sequences: readonly TokenSequence[];
    cut: TokenSequences | undefined;
    fact: CalibrationFact;
  }[] = [];
  for (const [i, text] of texts.entries()) {
    const { source, share } = text;
    const wanted = Math.round(tokens * share);
    const all = whole?.[i];
    const cut = all && fits(i) ? all : windowsOf(text, wanted);
    const sequences = cut?.sequences ?? (await selfSequences(model, wanted, window, options));
    const count = tokensOf(sequences);
    parts.push({
      sequences,
      cut,
      fact: {
        ...(await textFact(source)),
        share,
        tokens: count,
        windows: sequences.length,
        ...(source.file === undefined && { temperature: options.selfTemperature ?? 1 }),
      },
    });
    if (cut && asked !== undefined && count < 0.8 * wanted) {
      run.ctx.report?.({
        type: "diagnostic",
        severity: "warning",
        code: "CALIBRATION_SHORT",
        message: `${sourceName(source)} gives ${count} of the ${wanted} tokens that were asked of it`,
      });
    }
  }
  const sequences = parts.flatMap((part) => part.sequences);
  const cuts = parts.flatMap(({ cut }) => (cut ? [cut] : []));
  return {
    sequences,
    beginTokenGiven: cuts.every((cut) => cut.beginTokenGiven),
    endTokenScored: cuts.every((cut) => cut.endTokenScored),
    ...countsOf(sequences),
    facts: parts.map(({ fact }) => fact),
    hasStream: texts.some(({ documents }) => documents?.kind === "stream"),
  };
}

/** A calibration with some of its sequences only. */
export function calibrationPart(all: Calibration, sequences: readonly TokenSequence[]): Calibration {
  const kept = new Set(sequences);
  const texts = sequencesByText(all);
  return {
    ...all,
    sequences,
    ...countsOf(sequences),
    facts: all.facts.map((fact, i) => {
      const own = texts[i].filter((sequence) => kept.has(sequence));
      return { ...fact, tokens: tokensOf(own), windows: own.length };
    }),
  };
}

/** The sequences that the model made up itself. */
export function selfMade(calibration: Calibration): readonly TokenSequence[] {
  return sequencesByText(calibration)
    .filter((_, i) => calibration.facts[i].temperature !== undefined)
    .flat();
}

/** The sequences of each text, in the order of `facts`. */
function sequencesByText({ facts, sequences }: Calibration): readonly (readonly TokenSequence[])[] {
  let end = 0;
  return facts.map(({ windows }) => {
    end += windows;
    return sequences.slice(end - windows, end);
  });
}

function countsOf(sequences: readonly TokenSequence[]) {
  return {
    tokenCount: tokensOf(sequences),
    targetCount: sequences.reduce((sum, { ids, scoredFrom }) => sum + ids.length - scoredFrom, 0),
  };
}

export function tokensOf(sequences: readonly TokenSequence[]): number {
  return sequences.reduce((sum, { ids }) => sum + ids.length, 0);
}

/** What a source's file holds, and which part of it is meant; nothing for text that is yet to be made up. */
async function documentsOf(
  { file, task, range }: TextSource,
  run: Run,
): Promise<{ documents?: Documents; range?: TextRange }> {
  if (file === undefined) return {};
  const part = range && { range };
  if (task === undefined) return { documents: await readDocuments(file, run.ctx.report), ...part };
  // A part of a benchmark's file is one of its questions, however many answers each is read with.
  const { id, wrong } = taskOf(task);
  const benchmark = await readBenchmarkRows(id, { file, ...part }, run);
  const texts = answeredTexts(benchmark, { wrong });
  return { documents: { kind: "documents", texts, file } };
}

function selfSequences(
  { selfText }: CalibratedModel,
  tokens: number,
  window: number,
  { selfTemperature = 1 }: CalibrationOptions,
): Promise<readonly TokenSequence[]> {
  if (selfText) return selfText({ tokens, window, temperature: selfTemperature });
  throw new LayerfoldError("SELF_TEXT", "only a checkpoint can make up its own text", {
    where: "--calibration self",
  });
}

/** One line for people, e.g. `wiki.txt 32 windows, 16384 tokens; self 16384 tokens`. */
export function describeCalibration({ facts }: Calibration): string {
  return facts
    .map((fact) => `${factName(fact)}: ${fact.tokens} tokens in ${fact.windows} windows`)
    .join("; ");
}

/** The questions that a planner weighs, for a manifest. */
export async function answerFacts(questions: string | undefined): Promise<Record<string, DataFact>> {
  return questions === undefined ? {} : { calibrationQuestions: await textFact(fileSource(questions)) };
}

/**
 * The questions that a planner weighs, `FILE` or `FILE[from:to]`.
 * @throws as reading questions, TEXT_RANGE, WINDOW_TOO_LONG
 */
export async function readAnswers(
  questions: string,
  { tokenizer, context }: { readonly tokenizer: Tokenizer; readonly context: number },
  {
    window,
    questionWeight: weight = 1,
  }: { readonly window?: number | undefined; readonly questionWeight?: number | undefined },
  run: Run,
): Promise<WeighedAnswers> {
  const contextLength = questionWindow(window, context);
  const rows = await readQuestionRows(questions, run);
  return {
    sequences: answeredQuestions(tokenizer, rows, { contextLength, name: questions }, run.ctx.report),
    weight,
  };
}
