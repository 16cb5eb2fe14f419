// The module that pages load stays small, and the one in the repository is what the sources build.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { execFileSync } from 'node:child_process';

const limit = 8 * 1024; // bytes, minified and gzipped
const path = 'dist/neuroquantum-ws.js';

const size = gzipSync(readFileSync(path), { level: 9 }).length;
console.log(`${path}: ${size} bytes gzipped, at most ${limit}`);
if (size > limit) throw new Error('the client has grown too large');

const committed = execFileSync('git', ['show', `HEAD:./${path}`], { maxBuffer: 1 << 20 });
if (!committed.equals(readFileSync(path))) throw new Error(`${path} is not what the sources build: commit it`);
