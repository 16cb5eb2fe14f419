import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from 'esbuild';

const { outputFiles } = await build({ entryPoints: ['src/pattern.ts'], write: false, format: 'esm', target: 'es2022' });
const { matcher } = await import('data:text/javascript;base64,' + Buffer.from(outputFiles[0].text).toString('base64'));

test('a pattern matches as the protocol says', () => {
  const cases = [
    ['a/b', 'a/b', true], ['a/b', 'a/c', false], ['a/b', 'a.b', false],
    ['a/*', 'a/b', true], ['a/*', 'a/b/c', false], ['a/*', 'a', false], ['a/*', 'a.b', false],
    ['*', 'a', true], ['*', 'a/b', false],
    ['**', 'a', true], ['**', 'a/b/c', true], ['**', 'a.b', true],
    ['a/**', 'a', true], ['a.**', 'a', true], ['a/**', 'a/b/c', true], ['a/**', 'a.b', false],
    ['**/c', 'c', true], ['**/c', 'a/b/c', true], ['**/c', 'a/b', false],
    ['a/**/c', 'a/c', true], ['a/**/c', 'a/b/b/c', true], ['a/**/c', 'a/b/b', false],
    ['**/**', 'a', true], ['*/**', 'a', true], ['*/**', 'a/b', true], ['**/*/b', 'a/b', true], ['**/*/b', 'b', false],
    ['a.*.c', 'a.b.c', true], ['a.*.c', 'a/b/c', false], ['a/b.c/*', 'a/b.c/d', true],
  ];
  for (const [pattern, name, expected] of cases) assert.equal(matcher(pattern)(name), expected, `${pattern} ${name}`);
});

test('a pattern matches as the plainest reading of the rules does', () => {
  const naive = (parts, name) => {
    if (!parts.length) return !name.length;
    if (parts[0] === '**') return naive(parts.slice(1), name) || (name.length > 0 && naive(parts, name.slice(1)));
    return name.length > 0 && (parts[0] === '*' || parts[0] === name[0]) && naive(parts.slice(1), name.slice(1));
  };
  const pick = (list) => list[Math.floor(Math.random() * list.length)];
  const some = (words, separator) => Array.from({ length: 1 + Math.floor(Math.random() * 5) }, () => pick(words)).join(separator);
  const split = (text) => (text.includes('/') ? ['/', text.split('/')] : text.includes('.') ? ['.', text.split('.')] : ['', [text]]);
  for (let i = 0; i < 20_000; i++) {
    const pattern = some(['a', 'b', '*', '**'], pick(['/', '.']));
    const name = some(['a', 'b'], pick(['/', '.']));
    const [[p, parts], [n, segments]] = [split(pattern), split(name)];
    const expected = (!p || !n || p === n) && naive(parts, segments);
    assert.equal(matcher(pattern)(name), expected, `${pattern} ${name}`);
  }
});

test('a pattern made to be slow is not', () => {
  const segments = Array(15).fill('a').join('/');
  assert.equal(matcher(Array(15).fill('**/a').join('/') + '/b')(segments), false);
});
