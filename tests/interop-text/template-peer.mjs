// Reads a file of {template, conversations: [{messages, tools, ...variables}]} and writes, as JSON, what each renders to, or null
// where the template refuses it.
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";

const { template: source, conversations } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const template = new Template(source);
const rendered = conversations.map((variables) => {
  try {
    return template.render(variables);
  } catch {
    return null;
  }
});
process.stdout.write(JSON.stringify(rendered));
