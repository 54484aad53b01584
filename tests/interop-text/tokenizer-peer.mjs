// Reads a file of {tokenizer: path of a tokenizer.json, texts: [...], tokens: [[...], ...]} and writes, as JSON,
// {ids: the tokens of each text, texts: the text of each list of tokens}.
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";

const { tokenizer: path, texts, tokens } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const tokenizer = new Tokenizer(JSON.parse(readFileSync(path, "utf8")), {});
const ids = texts.map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
const decoded = tokens.map((list) => tokenizer.decode(list, { skip_special_tokens: false, clean_up_tokenization_spaces: false }));
process.stdout.write(JSON.stringify({ ids, texts: decoded }));
