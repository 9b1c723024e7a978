const carried =
  /^(tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|tokenizer\.model|vocab\.json|merges\.txt|added_tokens\.json|chat_template\.(jinja|json)|generation_config\.json|preprocessor_config\.json|video_preprocessor_config\.json|(LICEN[CS]E|NOTICE|USE_POLICY)([.-].*)?)$/i;

/** Whether a checkpoint that is made from another takes over a file of this name unchanged: tokenizer, chat template, licence and the like. */
export function isCarried(name: string): boolean {
  return carried.test(name);
}
