// What the scripts of this folder share: the service loaded from its .proto, and values ready for JSON.
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import { fileURLToPath } from 'node:url';

const proto = fileURLToPath(new URL('../../engine/contracts/microserving.proto', import.meta.url));
const definition = loader.loadSync(proto, { keepCase: true, longs: String, enums: String, defaults: true });

export const { Engine } = grpc.loadPackageDefinition(definition).scriptedserve.v1;
export { grpc };

/** The address as grpc-js names it: host:port or unix:path. */
export const target = (address) => address.replace(/^http:\/\//, '');
