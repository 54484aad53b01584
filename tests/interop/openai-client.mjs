// The official openai package against the API; prints what it saw as one JSON object.
import OpenAI from 'openai';

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = 'org/test';
const say = (content) => ({ model, messages: [{ role: 'user', content }] });
// Our test model reads bytes, so that a prompt's last character chooses what happens.
const prompt = (text) => ({ model, prompt: text });

const failure = async (call) => {
  try {
    await call;
    return 'no error';
  } catch (error) {
    return `${error.constructor.name} ${error.status} ${error.code} ${error.param}`;
  }
};

const seen = {};
seen.models = [(await client.models.list()).data[0].id, (await client.models.retrieve(model)).id];

const chat = await client.chat.completions.create(say('Hi'));
seen.chat = `${chat.choices[0].message.content}|${chat.choices[0].finish_reason}|${chat.usage.completion_tokens}`;

let text = '', reason, usage;
for await (const chunk of await client.chat.completions.create({ ...say('Hi'), stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? '';
  reason ??= chunk.choices[0]?.finish_reason;
  usage ??= chunk.usage?.completion_tokens;
}
seen.chatStream = `${text}|${reason}|${usage}`;

const completion = await client.completions.create({ ...prompt('Hi'), max_tokens: 5 });
seen.completion = `${completion.choices[0].text}|${completion.choices[0].finish_reason}|${completion.usage.completion_tokens}`;

[text, reason, usage] = ['', undefined, undefined];
for await (const chunk of await client.completions.create({ ...prompt('Hi'), max_tokens: 20, stop: 'ö', stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.text ?? '';
  reason ??= chunk.choices[0]?.finish_reason;
  usage ??= chunk.usage?.completion_tokens;
}
seen.completionStream = `${text}|${reason}|${usage}`;

const logprobs = await client.completions.create({ ...prompt('Hi'), max_tokens: 3, logprobs: 1 });
seen.logprobs = logprobs.choices[0].logprobs.tokens.join(',');

seen.unknownModel = await failure(client.chat.completions.create({ ...say('Hi'), model: 'gpt-4' }));
seen.badValue = await failure(client.chat.completions.create({ ...say('Hi'), temperature: 9 }));
seen.badKey = await failure(new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 }).models.list());
seen.overloaded = await failure(client.completions.create(prompt('!')));

text = '';
try {
  for await (const chunk of await client.completions.create({ ...prompt('?'), stream: true })) text += chunk.choices[0].text;
  seen.brokenStream = 'no error';
} catch (error) {
  seen.brokenStream = `${text} then ${error.code ?? error.error?.code}`;
}

let chunks = 0;
for await (const _ of await client.completions.create({ ...prompt('+'), stream: true })) {
  if (++chunks === 3) break;
}
seen.abandoned = `left after ${chunks}`;

console.log(JSON.stringify(seen));
