// Reads a file of {tokenizer: path of a tokenizer.json, texts: [...], tokens: [[...], ...]} and writes, as JSON, what the library answers.
import { readFileSync } from "node:fs";
import { ask } from "./tokenizers.mjs";

const { tokenizer, texts, tokens } = JSON.parse(readFileSync(process.argv[2], "utf8"));
process.stdout.write(JSON.stringify(await ask(tokenizer, texts, tokens)));
