// Bad calls to a running engine A, with B as its peer; prints each with the status expected and the one seen, and whether A held anything after it.
import { connect, prompt } from './engine-calls.mjs';

const [a, b] = process.argv.slice(2).map(connect);
const { model } = await a.call('GetStatus', {});
const [vocabulary, context] = [model.vocab_size, model.context_length];
const token_ids = prompt(300, 40);
const sampling = { temperature: 0, max_tokens: 4, ignore_eos: true };
const [least, most] = [-(2 ** 31), 2 ** 31 - 1];
const huge = 'x'.repeat(10 << 20);

const answer = async () => JSON.stringify(await a.generate({ request_id: 'good', token_ids, sampling: { ...sampling, logprobs: 2 } }));
const before = { answers: [await answer(), await answer()], epoch: (await a.idle()).epoch };

const reservation = await b.call('PrepRecv', { request_id: 'reserved', token_ids });
const address = reservation.kv_address;
const changed = (change) => {
  const copy = Buffer.from(address);
  change(copy);
  return copy;
};

const results = [];
const check = async (name, expected, call) => {
  const { status, details } = await call();
  results.push({ name, expected, status, details: (details ?? '').slice(0, 300), idle: (await a.idle()).isIdle });
};

const prepare = (request) => () => a.call('PrepRecv', { request_id: 'hostile', token_ids, ...request });
const send = (request) => () => a.call('RemoteSend', { request_id: 'hostile', token_ids, kv_address: address, ...request });
const generate = (request) => () => a.generate({ request_id: 'hostile', token_ids, sampling, ...request });

for (const [method, call] of Object.entries({ PrepRecv: prepare, RemoteSend: send, StartGenerate: generate })) {
  for (const [what, request] of [
    ['a token id of the vocabulary size', { token_ids: [1, vocabulary] }],
    ['a negative token id', { token_ids: [1, -1] }],
    ['the largest token id', { token_ids: [most] }],
    ['the least token id', { token_ids: [least] }],
    ['an empty prompt', { token_ids: [] }],
    ['a prompt longer than the context', { token_ids: prompt(301, context + 1) }],
    ['a prompt of a million tokens', { token_ids: prompt(302, 1000000) }],
    ['an empty request id', { request_id: '' }],
    ['a request id of 257 characters', { request_id: 'x'.repeat(257) }],
    ['a request id of 10 MB', { request_id: huge }],
  ]) {
    await check(`${method}: ${what}`, 'INVALID_ARGUMENT', call(request));
  }
  await check(`${method}: a message of 20 MB`, 'RESOURCE_EXHAUSTED', call({ request_id: huge + huge }));
}

for (const [field, calls] of [['end', { PrepRecv: prepare, RemoteSend: send }], ['begin', { RemoteSend: send, StartGenerate: generate }]]) {
  for (const [method, call] of Object.entries(calls)) {
    for (const value of [41, -41, most, least]) await check(`${method}: ${field} ${value} of 40 tokens`, 'INVALID_ARGUMENT', call({ [field]: value }));
  }
}
await check('RemoteSend: begin after end', 'INVALID_ARGUMENT', send({ begin: 21, end: 20 }));
await check('RemoteSend: begin after a negative end', 'INVALID_ARGUMENT', send({ begin: -1, end: -2 }));
await check('PrepRecv: a lease of 49 days', 'INVALID_ARGUMENT', prepare({ lease_ms: 2 ** 32 - 1 }));
await check('StartGenerate: a prompt that fills the context', 'INVALID_ARGUMENT', generate({ token_ids: prompt(303, context) }));
for (const prompt_tokens of [0, -1, 41, most, least]) {
  await check(`StartGenerate: resumed after ${prompt_tokens} of 40 tokens`, 'INVALID_ARGUMENT', generate({ resume: { prompt_tokens } }));
}

const biases = Object.fromEntries(Array.from({ length: 4097 }, (_, token) => [token, 0]));
for (const [field, values] of Object.entries({
  temperature: [-0.001, -1, NaN, Infinity, -Infinity],
  top_p: [0, -0.5, 1.001, NaN, Infinity],
  top_k: [-1, least],
  min_p: [-0.001, 1.001, NaN],
  presence_penalty: [-2.001, 2.001, NaN],
  frequency_penalty: [-2.001, 2.001, Infinity],
  repetition_penalty: [0, -1, NaN, Infinity],
  logit_bias: [{ 1: 100.5 }, { 1: -100.5 }, { 1: NaN }, { [vocabulary]: 1 }, { [-1]: 1 }, biases],
  logprobs: [-1, 21, most, least],
  max_tokens: [0, -1, least],
  min_tokens: [-1, 5, least],
  stop_token_ids: [[-1], [vocabulary], [most], new Array(1025).fill(1)],
})) {
  for (const value of values) {
    const said = JSON.stringify(value, (_, x) => (typeof x === 'number' && !Number.isFinite(x) ? String(x) : x)).slice(0, 40);
    await check(`StartGenerate: ${field} ${said}`, 'INVALID_ARGUMENT', generate({ sampling: { ...sampling, [field]: value } }));
  }
}
await check('StartGenerate: no sampling', 'INVALID_ARGUMENT', generate({ sampling: null }));

// The ends of the ranges are in them.
for (const legal of [
  { temperature: 1e-45 }, { temperature: 3.4e38 }, { temperature: 1, top_p: 1e-45 }, { temperature: 1, min_p: 1 }, { top_k: most, temperature: 1 },
  { repetition_penalty: 1e-45 }, { repetition_penalty: 3.4e38 }, { presence_penalty: -2, frequency_penalty: 2 }, { logit_bias: { 0: -100, [vocabulary - 1]: 100 } },
  { logprobs: 20, temperature: 1e-45 }, { seed: '18446744073709551615', temperature: 1 }, { min_tokens: 4 }, { max_tokens: most, ignore_eos: false, stop_token_ids: Array.from({ length: 1024 }, (_, token) => 2 * token) },
]) {
  await check(`StartGenerate: ${JSON.stringify(legal).slice(0, 60)}`, 'OK', generate({ sampling: { ...sampling, ...legal } }));
}

for (const reservation_id of ['no such', reservation.reservation_id, huge]) {
  await check(`StartGenerate: reservation ${reservation_id.slice(0, 10)}, not of this engine`, 'NOT_FOUND', generate({ reservation_id }));
  await check(`Release: reservation ${reservation_id.slice(0, 10)}, not of this engine`, 'NOT_FOUND', () => a.call('Release', { reservation_id }));
}
await check('Release: no reservation', 'NOT_FOUND', () => a.call('Release', {}));
await check('Abort: no request', 'INVALID_ARGUMENT', () => a.call('Abort', {}));
await check('Abort: a request id of 10 MB', 'INVALID_ARGUMENT', () => a.call('Abort', { request_id: huge }));
await check('Abort: an unknown request', 'OK', () => a.call('Abort', { request_id: 'nobody' }));

await check('RemoteSend: no address', 'INVALID_ARGUMENT', send({ kv_address: null }));
await check('RemoteSend: an address of 1 MB', 'INVALID_ARGUMENT', send({ kv_address: Buffer.alloc(1 << 20) }));
await check('RemoteSend: garbage as long as an address', 'UNAUTHENTICATED', send({ kv_address: Buffer.alloc(address.length, 0x5a) }));
await check('RemoteSend: an address and a byte more', 'UNAUTHENTICATED', send({ kv_address: Buffer.concat([address, Buffer.alloc(1)]) }));
for (let length = 1; length < address.length; length += 7) {
  await check(`RemoteSend: ${length} bytes of an address`, length <= 32 ? 'INVALID_ARGUMENT' : 'UNAUTHENTICATED', send({ kv_address: address.subarray(0, length) }));
}
for (let index = 0; index < address.length; index++) {
  await check(`RemoteSend: an address with a bit of byte ${index} flipped`, 'UNAUTHENTICATED', send({ kv_address: changed((copy) => (copy[index] ^= 1 << index % 8)) }));
}
await check('RemoteSend: other tokens than the address is for', 'FAILED_PRECONDITION', send({ token_ids: prompt(307, 40) }));
await check('RemoteSend: fewer tokens than the address is for', 'FAILED_PRECONDITION', send({ token_ids: token_ids.slice(0, 39) }));
await check('RemoteSend: a window beyond what the address takes', 'INVALID_ARGUMENT', send({ token_ids: prompt(300, 60) }));

// Malformed messages: (1) a field number of 0, (2) a length beyond the end, (3) a varint that never ends, (4) a string that is cut off.
const malformed = [[0, 1], [0x0a, 0x7f, 0x61], [0x10, ...new Array(12).fill(0xff)], [0x0a, 0x05, 0x61]];
for (const method of ['PrepRecv', 'RemoteSend', 'StartGenerate', 'Release', 'Abort', 'GetStatus', 'Drain']) {
  for (const bytes of malformed) {
    await check(`${method}: the bytes ${bytes.slice(0, 4)}`, 'INVALID_ARGUMENT', () => a.raw(method, Buffer.from(bytes)));
  }
}
await check('PrepRecv: random bytes', 'INVALID_ARGUMENT', () => a.raw('PrepRecv', Buffer.from(prompt(304, 5000).map((x) => x & 255))));

// A reservation of A's own that no KV has reached: a generation that counts on it is refused, and the reservation stays.
const own = await a.call('PrepRecv', { request_id: 'own', token_ids: prompt(305, 40), end: -1 });
const early = [
  await a.generate({ request_id: 'early', token_ids: prompt(305, 40), begin: -1, reservation_id: own.reservation_id, sampling }),
  await a.generate({ request_id: 'early', token_ids: prompt(305, 40), reservation_id: own.reservation_id, sampling }),
  await a.generate({ request_id: 'early', token_ids: prompt(306, 40), begin: 0, reservation_id: own.reservation_id, sampling }),
].map(({ status, details }) => ({ status, details }));
const held = (await a.call('GetStatus', {})).load.reservations;
const released = (await a.call('Release', { reservation_id: own.reservation_id })).status;

await b.call('Release', { reservation_id: reservation.reservation_id });
const idle = [await a.idle(), await b.idle()];
console.log(JSON.stringify({ results, early: { refused: early, held, released }, before, after: { answers: [await answer()], epoch: (await a.idle()).epoch }, idle }));
a.close();
b.close();
