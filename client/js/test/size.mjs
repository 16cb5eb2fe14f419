// The module that pages load stays small.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const limit = 9 * 1024; // bytes, minified and gzipped
const path = 'dist/neuroquantum-ws.js';

const size = gzipSync(readFileSync(path), { level: 9 }).length;
console.log(`${path}: ${size} bytes gzipped, at most ${limit}`);
if (size > limit) throw new Error('the client has grown too large');
