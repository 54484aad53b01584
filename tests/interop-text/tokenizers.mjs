// Hugging Face's tokenizers, the Rust library itself, as the peer of the tokenizer tests.
import { Tokenizer } from "tokenizers";

/** The ids of each text, without special tokens (ids) and with (full); the text of each list of tokens, with special tokens (texts) and without (plain). */
export async function ask(path, texts, tokens) {
  const tokenizer = Tokenizer.fromFile(path);
  const encode = async (addSpecialTokens) => {
    const encoded = [];
    for (const text of texts) encoded.push((await tokenizer.encode(text, null, { addSpecialTokens })).getIds());
    return encoded;
  };
  return {
    ids: await encode(false),
    full: await encode(true),
    texts: await Promise.all(tokens.map((list) => tokenizer.decode(list, false))),
    plain: await Promise.all(tokens.map((list) => tokenizer.decode(list, true))),
  };
}
