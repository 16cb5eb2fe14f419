// Builds dist/: one ES module for browsers and Node, and its types.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(dirname(fileURLToPath(import.meta.url)));
rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: ['src/index.ts'],
  outfile: 'dist/neuroquantum-ws.js',
  bundle: true,
  minify: true,
  mangleProps: /^_/, // what begins with _ is shared between the client's own files only
  format: 'esm',
  target: 'es2022',
  sourcemap: true,
});
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '--emitDeclarationOnly'], { stdio: 'inherit' });
