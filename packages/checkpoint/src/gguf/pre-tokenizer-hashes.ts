/**
 * Text by whose tokens llama.cpp's converter (convert_hf_to_gguf_update.py) knows published byte-level tokenizers apart. It cuts differently by
 * nearly every rule that there is for numbers, spaces, signs, scripts and contractions.
 */
export const preTokenizerProbe =
  "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ (multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, 'D you like some tea? We'Ve a'lL";

/** `tokenizer.ggml.pre` of published tokenizers, by SHA-256 of the list of ids that they give for the probe, in Python's spelling. */
export const preTokenizerHashes: Readonly<Record<string, string>> = {
  d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c: "qwen2",
  "0fe1cf6eda062318a1af7270f3331a85c539a01778ff948e24388e949c5282f4": "gpt-2",
  "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5": "llama-bpe",
  "347715f544604f9118bb75ed199f68779f423cabb20db6de6f31b908d04d7821": "deepseek-coder",
  "8aeee3860c56296a157a1fe2fad249ec40aa59b1bb5709f4ade11c4e6fe652ed": "falcon",
  "9d032fcbd5501f4a38150912590928bfb36091efb5df11b8e2124b0390e3fb1e": "falcon3",
  b6dc8df998e1cfbdc4eac8243701a65afe638679230920b50d6f17d81c098166: "olmo",
  "35d91631860c815f952d711435f48d356ebac988362536bed955d43bfa436e34": "starcoder",
  "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454": "gpt-2",
  "32d85c31273f8019248f2559fed492d929ea28b17e51d81d3bb36fff23ca72b3": "stablelm2",
  "6221ad2852e85ce96f791f476e0b390cf9b474c9e3d1362f53a24a06dc8220ff": "refact",
  "9c2227e4dd922002fb81bde4fc02b0483ca4f12911410dee2255e4987644e3f8": "command-r",
  e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea: "qwen2",
  a8594e3edff7c29c003940395316294b2c623e09894deebbc65f33f1515df79e: "dbrx",
  c136ed14d01c2745d4f60a9596ae66800e2b61fa45643e72436041855ad4089d: "smaug-bpe",
  "63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e": "tekken",
  "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249": "smollm",
  fcace8b9cac38ce847670c970cd5892031a753a1ef381abd1d9af00f713da085: "phi-2",
  b3f499bb4255f8ca19fccd664443283318f2fd2414d5e0b040fbdd0cc195d6c5: "deepseek-r1-qwen",
  ccc2ef013c104be7bae2965776d611e1d7a8a2a9c547dd93a682c9a9fc80352e: "gpt-4o",
  "0e9433cbbb161f89e264eb32e8e64bfe69e834973ffca5d41d3948a604a3e2a3": "pixtral",
};
