// Builds dist/: one ES module for browsers and Node, and its types. With --check it only tells whether the module is what the sources
// build: it is kept in the repository, so that pages can be served without a build step.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';

process.chdir(dirname(fileURLToPath(import.meta.url)));
const path = 'dist/neuroquantum-ws.js';
const { outputFiles } = await build({
  minify: true,
  format: 'esm',
  target: 'es2022',
  entryPoints: ['src/index.ts'],
  bundle: true,
  mangleProps: /^_/, // what begins with _ is between the client's own files
  write: false,
});
// What esbuild makes of it, terser makes shorter still.
const { code } = await minify(outputFiles[0].text, {
  module: true,
  ecma: 2022,
  compress: { passes: 4, unsafe_arrows: true, unsafe_comps: true, keep_fargs: false, pure_getters: true },
});

if (process.argv.includes('--check')) {
  if (readFileSync(path, 'utf8') !== code) throw new Error(`${path} is not what the sources build: npm run build`);
  process.exit();
}
rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
writeFileSync(path, code);
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '--emitDeclarationOnly'], { stdio: 'inherit' });
