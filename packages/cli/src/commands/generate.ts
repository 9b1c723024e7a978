import { endTokens, promptIds } from "@layerfold/checkpoint";
import { type Architecture, LayerfoldError } from "@layerfold/core";
import { memoryNeed, openGenerator } from "@layerfold/graph";
import { needsWhole, openModel } from "@layerfold/pipeline";
import { isQuantized, quantizedWeights } from "@layerfold/quantize";
import { type Command, InvalidArgumentError } from "commander";
import { renderChatTemplate } from "../chat-template.js";
import { command, integer, memoryOption, withDevice } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

interface GenerateOptions extends CommonOptions {
  readonly prompt: string;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly chat?: boolean;
  readonly exact?: boolean;
}

function temperature(text: string): number {
  const value = Number(text);
  if (!(value >= 0) || !Number.isFinite(value))
    throw new InvalidArgumentError("wanted a number of at least 0.");
  return value;
}

/** Tokens that can be made behind a prompt: as many as are asked for, or as the context has room for. @throws PROMPT_TOO_LONG */
function roomFor(
  asked: number,
  promptLength: number,
  { maxPositionEmbeddings: context }: Pick<Architecture, "maxPositionEmbeddings">,
): number {
  if (promptLength > context) {
    throw new LayerfoldError("PROMPT_TOO_LONG", "the prompt is longer than the model's context", {
      wanted: `at most ${context} tokens`,
      got: `${promptLength}`,
      where: "--prompt",
    });
  }
  // The last token is only given out.
  return Math.min(asked, context - promptLength + 1);
}

export function generateCommand(signal: AbortSignal): Command {
  return withDevice(
    command(
      "generate",
      "Continue a prompt; greedy unless a temperature is given.",
      'layerfold generate models/foldling/checkpoint --prompt "Mara went to the mill. Where is Mara?"',
    ),
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption("--prompt <text>", "what to continue")
    .option("--max-new-tokens <count>", "most tokens to make", integer(1), 64)
    .option(
      "--temperature <number>",
      "0 = greedy; else tokens are drawn, repeatable by --seed",
      temperature,
      0,
    )
    .option(
      "--exact",
      "of a quantised model: float32 products in place of the faster int8 ones (slow with 8-bit weights)",
    )
    .option("--chat", "put the prompt into the model's chat template as a user's message")
    .addOption(memoryOption())
    .action(async (modelPath: string, options: GenerateOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const { checkpoint, tokenizer } = await openModel(modelPath, run, { packed: true });
      if (memoryNeed(checkpoint).whole > run.memory) {
        await checkpoint.close();
        throw needsWhole(checkpoint, modelPath);
      }
      const generator = await openGenerator(checkpoint, {
        ...run.place,
        ...(isQuantized(checkpoint) && {
          quantizedWeights: await quantizedWeights(checkpoint, run.ctx.report),
          accuracyLevel: options.exact ? 0 : 4,
        }),
      });
      try {
        const special = (id: number | undefined) => (id === undefined ? "" : tokenizer.decode([id]));
        const prompt = options.chat ? await chatPrompt() : options.prompt;
        // A chat template writes the begin token itself.
        const { ids, ownBegin } = options.chat
          ? { ids: tokenizer.encode(prompt), ownBegin: false }
          : promptIds(tokenizer, prompt);
        if (ownBegin) {
          run.ctx.report?.({
            type: "diagnostic",
            severity: "info",
            code: "BEGIN_TOKEN_PRESENT",
            message: "the prompt begins with the begin token itself; it is not given a second time",
          });
        }
        const maxNewTokens = roomFor(options.maxNewTokens, ids.length, checkpoint.architecture);
        const out: number[] = [];
        for await (const id of generator.generate(ids, {
          maxNewTokens,
          temperature: options.temperature,
          rng: run.ctx.rng,
          stopTokens: await endTokens(checkpoint, tokenizer),
          signal,
        })) {
          out.push(id);
          run.ctx.report?.({
            type: "progress",
            stage: "generate",
            done: out.length,
            total: maxNewTokens,
            unit: "tokens",
          });
        }
        if (out.length === maxNewTokens && maxNewTokens < options.maxNewTokens) {
          run.ctx.report?.({
            type: "diagnostic",
            severity: "warning",
            code: "CONTEXT_FULL",
            message: `the model's context is full after ${maxNewTokens} of ${options.maxNewTokens} tokens; the text ends there`,
          });
        }
        const text = tokenizer.decode(out, { skipSpecialTokens: true });
        run.terminal.result({ text, tokens: out, prompt_tokens: ids.length }, text);

        async function chatPrompt(): Promise<string> {
          if (tokenizer.chatTemplate === undefined) {
            throw new LayerfoldError("CHAT_TEMPLATE_MISSING", "the model has no chat template", {
              where: checkpoint.directory,
            });
          }
          const values = {
            messages: [{ role: "user", content: options.prompt }],
            add_generation_prompt: true,
            bos_token: special(tokenizer.beginId),
            eos_token: special(tokenizer.endId),
          };
          return renderChatTemplate(tokenizer.chatTemplate, values, checkpoint.directory, signal);
        }
      } finally {
        await generator.close();
        await checkpoint.close();
      }
    });
}
