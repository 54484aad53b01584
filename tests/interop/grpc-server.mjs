// A grpc-js server with the scripted behaviour of the tests' own fake engine: the request id says what to do.
// Prints its port (0 for a unix socket) once it serves, then "cancelled" for each call its client gave up.
import { Engine, grpc, target } from './engine-peer.mjs';

const failure = (words) => {
  const metadata = new grpc.Metadata();
  metadata.set('retry-after-ms', '1500');
  return { code: Number(words[0]), details: words.slice(1).join(' '), metadata };
};

const unary = (reply) => (call, callback) => {
  const words = (call.request.request_id ?? call.request.reservation_id ?? '').split(' ');
  if (words[0] === 'fail') callback(failure(words.slice(1)));
  else if (words[0] === 'hang') call.on('cancelled', () => console.log('cancelled'));
  else callback(null, reply(call.request));
};

const server = new grpc.Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
server.addService(Engine.service, {
  PrepRecv: unary((request) => ({
    reservation_id: 'r-1',
    kv_address: Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
    matched_tokens: request.token_ids.length,
    end: request.token_ids.length + request.end,
  })),
  RemoteSend: unary(() => ({ sent_tokens: 5, timings: { transfer_us: '12345678901' } })),
  Release: unary(() => ({})),
  Abort: unary(() => ({})),
  Drain: unary(() => ({})),
  GetStatus: unary(() => ({ engine_id: 'js', epoch: '18446744073709551615' })),
  StartGenerate: (call) => {
    const [kind, count, next, ...rest] = call.request.request_id.split(' ');
    for (let i = 0; i < Number(count); i++) {
      const last = kind === 'count' && !next && i === Number(count) - 1;
      call.write({ token_ids: [i], finish_reason: last ? 'FINISH_REASON_LENGTH' : 0 });
    }
    call.on('cancelled', () => console.log('cancelled'));
    if (next === 'fail') call.emit('error', failure(rest));
    else if (kind === 'count') call.end();
  },
});
server.bindAsync(target(process.argv[2]), grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(String(port));
});
