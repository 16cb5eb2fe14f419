// Makes dist, which the Go package embeds, from src. With --check it writes nothing and fails where dist is not what it would write.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, 'dist');

const common = { absWorkingDir: root, bundle: true, minify: true, write: false, target: 'es2022', format: 'esm', charset: 'utf8', legalComments: 'none' };

// hashed names a file by what is in it, so that browsers may keep it for ever.
function hashed(name, extension, content) {
  return `assets/${name}-${createHash('sha256').update(content).digest('hex').slice(0, 10)}.${extension}`;
}

async function bundle(entry, options = {}) {
  const { outputFiles } = await build({ ...common, ...options, entryPoints: [entry] });
  return outputFiles[0].contents;
}

// licences are those of what is bundled, which go with it.
function licences() {
  const names = ['preact', '@preact/signals', '@preact/signals-core', 'uplot'];
  return names.map((name) => {
    const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'));
    return `${name} ${version}\n\n${readFileSync(join(root, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`;
  }).join(`\n${'-'.repeat(78)}\n\n`);
}

async function files() {
  const out = new Map();
  const add = (name, extension, content) => {
    const path = hashed(name, extension, content);
    out.set(path, Buffer.from(content));
    return path;
  };
  const reader = add('reader', 'js', await bundle('src/reader/worker.ts'));
  const script = add('console', 'js', await bundle('src/main.tsx', {
    jsx: 'automatic', jsxImportSource: 'preact', define: { READER: JSON.stringify(reader) },
  }));
  const style = add('console', 'css', await bundle('src/style/index.css'));
  const icon = add('icon', 'svg', readFileSync(join(root, 'src/icon.svg')));
  const text = add('licences', 'txt', licences());
  const page = readFileSync(join(root, 'src/index.html'), 'utf8');
  out.set('index.html', Buffer.from(page.replace('%SCRIPT%', script).replace('%STYLE%', style).replace('%ICON%', icon).replace('%LICENCES%', text)));
  return out;
}

function present() {
  const paths = readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return paths.map((entry) => join(entry.parentPath, entry.name).slice(dist.length + 1)).sort();
}

const made = await files();
if (process.argv.includes('--check')) {
  const differ = [...new Set([...made.keys(), ...present()])].filter((path) => {
    try {
      return !made.get(path)?.equals(readFileSync(join(dist, path)));
    } catch {
      return true;
    }
  });
  if (differ.length > 0) {
    console.error(`dist is not what src gives (${differ.join(', ')}): run npm run build in console/`);
    process.exit(1);
  }
  console.log('console: dist is what src gives');
} else {
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(join(dist, 'assets'), { recursive: true });
  for (const [path, content] of made) {
    writeFileSync(join(dist, path), content);
    console.log(`${path} ${content.length}`);
  }
}
