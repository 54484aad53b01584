// Calls of one running engine by grpc-js; every outcome is a value, with its status by name.
import { Engine, grpc, target } from './engine-peer.mjs';

const patienceMs = 30000;
const unlimited = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };

const failed = (error) => ({ status: grpc.status[error.code], details: error.details });

export const isIdle = ({ load }) =>
  load.waiting === 0 && load.running === 0 && load.reservations === 0 && load.kv_pages_held === 0 && load.kv_pages_free === load.kv_pages_total;

export const connect = (address) => {
  const client = new Engine(target(address), grpc.credentials.createInsecure(), unlimited);
  const metadata = new grpc.Metadata();
  const deadline = () => ({ deadline: Date.now() + patienceMs });

  const unary = (send) => new Promise((resolve) => send((error, reply) => resolve(error ? failed(error) : { status: 'OK', ...reply })));

  const call = (method, request) => unary((done) => client[method](request, metadata, deadline(), done));

  /** A unary call whose request is these bytes, whatever they are. */
  const raw = (method, bytes) =>
    unary((done) => client.makeUnaryRequest(`/scriptedserve.v1.Engine/${method}`, (x) => x, () => ({}), bytes, metadata, deadline(), done));

  /** Reads a generation to its end; `onChunk(call, chunks so far)` may interfere. */
  const generate = (request, onChunk = () => {}) =>
    new Promise((resolve) => {
      const seen = { chunks: 0, token_ids: [], logprobs: [], finish_reason: null, usage: null };
      const stream = client.StartGenerate(request, metadata, deadline());
      stream.on('data', (chunk) => {
        seen.token_ids.push(...chunk.token_ids);
        seen.logprobs.push(...chunk.logprobs);
        seen.usage = chunk.usage ?? seen.usage;
        if (chunk.finish_reason !== 'FINISH_REASON_UNSPECIFIED') seen.finish_reason = chunk.finish_reason;
        onChunk(stream, ++seen.chunks);
      });
      stream.on('error', (error) => resolve({ ...seen, ...failed(error) }));
      stream.on('status', ({ code }) => code === 0 && resolve({ ...seen, status: 'OK' }));
    });

  /** Watches until `isWanted(status, is it the first)`, and returns all that were told; fails if that takes too long. */
  const watch = (isWanted) =>
    new Promise((resolve, reject) => {
      const told = [];
      const stream = client.WatchStatus({ min_interval_ms: 0 }, metadata, deadline());
      stream.on('data', (status) => {
        told.push(status);
        if (isWanted(status, told.length === 1)) {
          resolve(told);
          stream.cancel();
        }
      });
      stream.on('error', (error) => reject(new Error(`${address}: ${error.details}; last told: ${JSON.stringify(told.at(-1)?.load)}`)));
      stream.on('end', () => reject(new Error(`${address}: the watch ended`)));
    });

  /** Waits until nothing is held; answers what GetStatus says then. */
  const idle = async () => {
    await watch(isIdle);
    const status = await call('GetStatus', {});
    return { isIdle: isIdle(status), state: status.state, epoch: status.epoch, load: status.load };
  };

  return { call, raw, generate, watch, idle, close: () => client.close() };
};

/** A prompt of its own for each number: no two share a page. */
export const prompt = (number, length) => {
  let x = (number * 2654435761) >>> 0;
  return Array.from({ length }, () => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) % 2000);
};
