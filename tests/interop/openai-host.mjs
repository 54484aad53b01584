// The official openai package against a running host; prints what it saw as one JSON object.
import OpenAI from 'openai';

const [baseURL, router] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'any', maxRetries: 0, defaultHeaders: router ? { 'X-Router': router } : {} });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: 'system', content: 'You tell stories.' }, { role: 'user', content: 'Tell me about a fox.' }];
const chatBody = { model, messages, max_completion_tokens: 32, temperature: 1, seed: 11, logprobs: true, top_logprobs: 2 };
const textBody = { model, prompt: 'Once upon a time there was', max_tokens: 32, temperature: 1, seed: 12, logprobs: 2 };
const usageOf = (usage) => [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens];

const seen = { model, retrieved: (await client.models.retrieve(model)).id };

const chat = await client.chat.completions.create(chatBody);
seen.chat = { text: chat.choices[0].message.content, reason: chat.choices[0].finish_reason, usage: usageOf(chat.usage), logprobs: chat.choices[0].logprobs.content };
seen.chatStream = { text: '', logprobs: [] };
for await (const chunk of await client.chat.completions.create({ ...chatBody, stream: true, stream_options: { include_usage: true } })) {
  seen.chatStream.text += chunk.choices[0]?.delta.content ?? '';
  seen.chatStream.logprobs.push(...(chunk.choices[0]?.logprobs?.content ?? []));
  seen.chatStream.reason ??= chunk.choices[0]?.finish_reason ?? undefined;
  if (chunk.usage) seen.chatStream.usage = usageOf(chunk.usage);
}
// The package's own assembly of a stream must agree with ours.
const assembled = await client.chat.completions.stream({ ...chatBody }).finalChatCompletion();
seen.assembled = assembled.choices[0].message.content;

const text = await client.completions.create(textBody);
seen.text = { text: text.choices[0].text, reason: text.choices[0].finish_reason, usage: usageOf(text.usage), logprobs: text.choices[0].logprobs };
seen.textStream = { text: '', logprobs: { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] } };
for await (const chunk of await client.completions.create({ ...textBody, stream: true, stream_options: { include_usage: true } })) {
  const choice = chunk.choices[0];
  seen.textStream.text += choice?.text ?? '';
  for (const [name, values] of Object.entries(choice?.logprobs ?? {})) seen.textStream.logprobs[name].push(...values);
  seen.textStream.reason ??= choice?.finish_reason ?? undefined;
  if (chunk.usage) seen.textStream.usage = usageOf(chunk.usage);
}

const three = await client.completions.create({ ...textBody, n: 3 });
seen.three = three.choices.map((choice) => `${choice.index}: ${choice.text}`);
seen.threeStream = ['0: ', '1: ', '2: '];
for await (const chunk of await client.completions.create({ ...textBody, n: 3, stream: true })) {
  for (const choice of chunk.choices) seen.threeStream[choice.index] += choice.text;
}

// A stop string that the answer is known to contain.
const stop = text.choices[0].text.slice(8, 11);
const stopped = await client.completions.create({ ...textBody, stop: [stop] });
seen.stopped = { stop, text: stopped.choices[0].text, reason: stopped.choices[0].finish_reason };

const failure = async (call) => {
  try {
    await call;
    return 'no error';
  } catch (error) {
    return `${error.constructor.name} ${error.status} ${error.code} ${error.param}`;
  }
};
seen.unknownModel = await failure(client.chat.completions.create({ ...chatBody, model: 'gpt-9' }));
seen.badValue = await failure(client.chat.completions.create({ ...chatBody, top_p: 7 }));
seen.badPrompt = await failure(client.completions.create({ ...textBody, prompt: [1, 2, 1 << 30] }));
seen.unknownField = await failure(client.completions.create({ ...textBody, max_tokens: 1, store: true, colour_of_the_sky: { blue: [1, null] } }));

const leaving = new AbortController();
let pieces = 0;
try {
  const stream = await client.completions.create({ ...textBody, max_tokens: 1900, ignore_eos: true, stream: true }, { signal: leaving.signal });
  for await (const _ of stream) if (++pieces === 3) leaving.abort();
} catch { /* An abort may surface as an error or as the stream's end. */ }
seen.abandoned = pieces;

console.log(JSON.stringify(seen));
