// Writes the cases.json of every tokenizer in tests/data/tokenizers: what Hugging Face's library makes of the texts and tokens beside it.
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ask } from "./tokenizers.mjs";

const folder = fileURLToPath(new URL("../data/tokenizers", import.meta.url));
for (const file of readdirSync(folder).filter((name) => name.endsWith(".texts.json"))) {
  const name = file.slice(0, -".texts.json".length);
  const { texts, tokens } = JSON.parse(readFileSync(join(folder, file), "utf8"));
  const answer = await ask(join(folder, `${name}.tokenizer.json`), texts, tokens);
  const encoded = texts.map((text, i) => JSON.stringify({ text, ids: answer.ids[i], full: answer.full[i] }));
  const decoded = tokens.map((ids, i) => JSON.stringify({ ids, text: answer.texts[i], plain: answer.plain[i] }));
  writeFileSync(join(folder, `${name}.cases.json`), `{"encoded":[\n${encoded.join(",\n")}\n],"decoded":[\n${decoded.join(",\n")}\n]}\n`);
  rmSync(join(folder, file));
}
