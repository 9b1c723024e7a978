import type { Tokenizer } from "@layerfold/checkpoint";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import type { TaskDocument, TaskRequest } from "./documents.js";
import { encoder, type Sequence } from "./encode.js";
import { generateAnswers, type Prompt } from "./generate-answers.js";
import type { Response } from "./metrics.js";
import { type AskedModel, scoreSequences } from "./score-sequences.js";

export interface AskOptions {
  /** Most tokens that the model sees at once; what is longer loses its beginning, and is counted. */
  readonly contextLength: number;
  /** What reports and errors call the documents; default "documents". */
  readonly name?: string | undefined;
  /** Tokens that end an answer; needed where answers are generated. */
  readonly endTokens?: readonly number[] | undefined;
  /** Compute what requests begin with alike once, where the model can; default true. */
  readonly shareBeginnings?: boolean | undefined;
}

type AskContext = Pick<RunContext, "signal" | "report" | "memory">;

/**
 * Asks a model about documents. What is longer than the context is cut on the left as lm-evaluation-harness does it, and counted in a report; where a
 * likelihood is not finite, it is null, and that is reported.
 *
 * @returns [documents][requests]
 * @throws QUESTIONS_EMPTY, QUESTION_TOO_LONG, CONTINUATION_EMPTY, CONTEXT_EMPTY, BEGIN_TOKEN_MISSING, INTERRUPTED
 */
export async function askDocuments(
  model: AskedModel,
  tokenizer: Tokenizer,
  documents: readonly TaskDocument[],
  options: AskOptions,
  ctx: AskContext,
): Promise<Response[][]> {
  const { name = "documents", contextLength } = options;
  if (documents.length === 0)
    throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question", { where: name });
  const texts = encoder(tokenizer, contextLength);
  const responses: Response[][] = documents.map(({ requests }) => requests.map(() => null));
  /** Where each sequence's score goes. */
  const scored: { readonly document: number; readonly request: number; readonly sequence: Sequence }[] = [];
  const asked: { readonly document: number; readonly request: number; readonly prompt: Prompt }[] = [];
  const cut = new Set<number>();
  documents.forEach(({ requests, id }, document) => {
    const where = `${name}, document ${id}`;
    requests.forEach((request, index) => {
      const place = { document, request: index };
      if (request.kind === "generate") {
        const { ids, cut: gone } = texts.prompt(request.context, request.maxTokens, where);
        if (ids.length === 0)
          throw new LayerfoldError("CONTEXT_EMPTY", "the context has no token", { where });
        if (gone > 0) cut.add(document);
        asked.push({ ...place, prompt: { ids, until: request.until, maxTokens: request.maxTokens } });
        return;
      }
      for (const sequence of sequencesOf(request, where)) {
        if (sequence.cut > 0) cut.add(document);
        scored.push({ ...place, sequence });
      }
    });
  });
  reportCut(cut.size);

  const total = scored.length + asked.length;
  const advance = (done: number) =>
    ctx.report?.({ type: "progress", stage: name, done, total, unit: "requests" });
  if (scored.length > 0) {
    const sequences = scored.map(({ sequence }) => sequence);
    const { shareBeginnings } = options;
    const scores = await scoreSequences(model, sequences, { advance, shareBeginnings }, ctx);
    for (const [i, { document, request }] of scored.entries()) add(document, request, scores[i]);
  }
  if (asked.length > 0) {
    const prompts = asked.map(({ prompt }) => prompt);
    const { endTokens = [] } = options;
    const answers = await generateAnswers(model, tokenizer, prompts, { endTokens, advance }, ctx);
    asked.forEach(({ document, request }, i) => {
      responses[document][request] = answers[i];
    });
  }
  const unscored = documents.map(({ requests }, document) => finish(document, requests));
  reportUnscored(unscored.filter(Boolean).length);
  return responses;

  function sequencesOf(request: Exclude<TaskRequest, { kind: "generate" }>, where: string): Sequence[] {
    if (request.kind === "rolling") return texts.rolling(request.text);
    return [texts.pair(request.context, request.continuation, where)];
  }

  function add(document: number, request: number, score: { logLikelihood: number; greedy: boolean }): void {
    if (documents[document].requests[request].kind === "rolling") {
      responses[document][request] =
        ((responses[document][request] as number | null) ?? 0) + score.logLikelihood;
    } else responses[document][request] = [score.logLikelihood, score.greedy];
  }

  /** What JSON cannot say becomes null. @returns whether something was not finite */
  function finish(document: number, requests: readonly TaskRequest[]): boolean {
    let broken = false;
    requests.forEach(({ kind }, request) => {
      const response = responses[document][request];
      if (kind === "rolling") {
        // A text without a token is certain.
        const sum = (response as number | null) ?? 0;
        responses[document][request] = Number.isFinite(sum) ? sum : null;
        broken ||= !Number.isFinite(sum);
      } else if (kind === "loglikelihood") {
        const [sum, greedy] = response as readonly [number, boolean];
        if (Number.isFinite(sum)) return;
        responses[document][request] = [null, greedy];
        broken = true;
      }
    });
    return broken;
  }

  function reportCut(count: number): void {
    if (count === 0) return;
    ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "QUESTIONS_CUT",
      message: `${name}: ${count} of ${documents.length} are longer than the ${contextLength} tokens that the model sees at once and lost their beginning`,
    });
  }

  function reportUnscored(count: number): void {
    if (count === 0) return;
    ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "QUESTIONS_NOT_FINITE",
      message: `${name}: to ${count} of ${documents.length} the model gives logits that are not finite; they count as answered wrongly`,
    });
  }
}
