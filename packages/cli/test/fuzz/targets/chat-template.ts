import { runCommand } from "../run-command.js";
import { encode, encodeJson, type FuzzTarget } from "../target.js";
import { modelFiles, tinyTokenizerConfig } from "../tiny-model.js";

const template = tinyTokenizerConfig.chat_template;

/** A chat template, in each of the files that can hold it, as `generate --chat` renders it. */
export const chatTemplate: FuzzTarget = {
  id: "chat-template",
  async starts(scratch) {
    const model = await modelFiles(scratch);
    const longer =
      "{%- set ns = namespace(n=0) -%}{% macro m(x) %}{{ x | upper }}{% endmacro %}" +
      "{% for i in range(3) %}{% set ns.n = ns.n + i %}{{ m('a') }}{% endfor %}{{ messages[0]['content'][:3] ~ ns.n }}" +
      "{{ messages | length }}{% if not tools is defined %}{{ strftime_now('%Y') | int }}{% endif %}";
    return [
      model,
      new Map(model).set("chat_template.jinja", encode(template)),
      new Map(model).set("chat_template.jinja", encode(longer.replace(/\{% if not.*/, ""))),
      new Map(model).set("chat_template.json", encodeJson({ chat_template: template })),
      new Map(model).set(
        "tokenizer_config.json",
        encodeJson({
          ...tinyTokenizerConfig,
          chat_template: [
            { name: "default", template },
            { name: "tool_use", template },
          ],
        }),
      ),
    ];
  },
  changes: (name) => /chat_template|tokenizer_config/.test(name),
  async read(folder) {
    await runCommand("generate", folder, "--chat", "--prompt", "the dog", "--max-new-tokens", "1");
  },
};
