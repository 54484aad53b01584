// A grpc-js client that drives a scripted engine through every kind of outcome and prints what it saw as one JSON object.
import { Engine, grpc, target } from './engine-peer.mjs';

const large = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };
const engine = new Engine(target(process.argv[2]), grpc.credentials.createInsecure(), large);
const token = process.argv[3];
const metadata = new grpc.Metadata();
if (token) metadata.set('authorization', `Bearer ${token}`);

const outcome = (error) => ({
  code: error.code,
  details: error.details,
  retryAfterMs: error.metadata?.get('retry-after-ms')[0] ?? null,
});

const unary = (method, request, options = {}) =>
  new Promise((resolve) => engine[method](request, metadata, options, (error, reply) => resolve(error ? outcome(error) : { code: 0, reply })));

const stream = (request, options = {}, onChunk = () => {}) =>
  new Promise((resolve) => {
    const chunks = [];
    const call = engine.StartGenerate(request, metadata, options);
    call.on('data', (chunk) => {
      chunks.push(chunk);
      onChunk(call, chunks.length);
    });
    call.on('error', (error) => resolve({ ...outcome(error), chunks }));
    call.on('end', () => {});
    call.on('status', (status) => {
      if (status.code === 0) resolve({ code: 0, chunks });
    });
  });

const raw = (path) =>
  new Promise((resolve) =>
    engine.makeUnaryRequest(path, (x) => x, (x) => x, Buffer.alloc(0), metadata, (error) => resolve(error ? outcome(error) : { code: 0 })));

const seen = {};
seen.unary = await unary('PrepRecv', { request_id: 'echo', token_ids: [1, 2, 3], end: -1, lease_ms: 5000 });
seen.largeUnary = await unary('PrepRecv', { request_id: 'echo', token_ids: new Array(1000000).fill(100000), end: 7 });
seen.status = await unary('GetStatus', {});
seen.stream = await stream({ request_id: 'count 3', token_ids: [1] });
seen.streamThenError = await stream({ request_id: 'count 2 fail 10 preempted', token_ids: [1] });
seen.failures = [];
for (let code = 1; code <= 16; code++) {
  seen.failures.push(await unary('RemoteSend', { request_id: `fail ${code} grüße 100%\n✓` }));
}
seen.unexpected = await unary('Release', { reservation_id: 'throw' });
seen.cancelled = await stream({ request_id: 'hang 1', token_ids: [1] }, {}, (call) => call.cancel());
seen.deadline = await stream({ request_id: 'hang 0', token_ids: [1] }, { deadline: Date.now() + 300 });
seen.unknownMethod = await raw('/scriptedserve.v1.Engine/Nothing');
seen.unknownService = await raw('/some.other.Service/Method');
seen.concurrent = (await Promise.all(Array.from({ length: 200 }, (_, i) => stream({ request_id: `count ${(i % 7) + 1}`, token_ids: [1] }))))
  .map((call) => call.chunks.length);

const compressing = new Engine(target(process.argv[2]), grpc.credentials.createInsecure(), { 'grpc.default_compression_algorithm': 2 });
seen.compressed = await new Promise((resolve) =>
  compressing.PrepRecv({ request_id: 'echo', token_ids: new Array(1000).fill(7) }, metadata, (error, reply) => resolve(error ? outcome(error) : { code: 0, reply })));

if (seen.largeUnary.reply) seen.largeUnary.reply.kv_address = null;
console.log(JSON.stringify(seen));
engine.close();
compressing.close();
