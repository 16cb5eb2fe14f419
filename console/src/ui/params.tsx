import type { Param, Query } from '../state/api.js';
import { Field } from './parts.js';

/** What has been typed, by parameter. */
export type Typed = Record<string, string>;

export const defaults = (query: Query): Typed => Object.fromEntries(query.params.map((p) => [p.name, p.default ?? p.enum?.[0] ?? (p.type === 'boolean' ? 'false' : '')]));

/** The parameters as the server takes them; what was left empty and has a default is left out. */
export function values(query: Query, typed: Typed): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const p of query.params) {
    const text = typed[p.name] ?? '';
    if (text === '' && !p.required) continue;
    out[p.name] = p.type === 'integer' || p.type === 'number' ? Number(text) : p.type === 'boolean' ? text === 'true' : text;
  }
  return out;
}

function hint(p: Param): string {
  const bounds = [p.min !== undefined && `from ${p.min}`, p.max !== undefined && `to ${p.max}`, p.max_length !== undefined && `at most ${p.max_length} characters`];
  return [p.type, ...bounds.filter(Boolean), p.required ? '' : 'optional'].filter(Boolean).join(', ');
}

export function Params({ query, typed, change }: { query: Query; typed: Typed; change: (typed: Typed) => void }) {
  if (query.params.length === 0) return null;
  const set = (name: string, value: string) => change({ ...typed, [name]: value });
  return (
    <>
      {query.params.map((p) => (
        <Field key={p.name} label={p.name} help={hint(p)}>
          {(id, described) => <Control p={p} id={id} described={described} value={typed[p.name] ?? ''} set={(value) => set(p.name, value)} />}
        </Field>
      ))}
    </>
  );
}

function Control({ p, id, described, value, set }: { p: Param; id: string; described: string | undefined; value: string; set: (value: string) => void }) {
  const common = { id, value, 'aria-describedby': described, required: p.required, 'data-testid': `param-${p.name}` };
  const options = p.enum ?? (p.type === 'boolean' ? ['false', 'true'] : undefined);
  if (options) {
    return (
      <select {...common} onChange={(e) => set(e.currentTarget.value)}>
        {!p.required && <option value="" />}
        {options.map((option) => <option key={option} value={option}>{option}</option>)}
      </select>
    );
  }
  const numeric = p.type === 'integer' || p.type === 'number';
  return (
    <input {...common} spellcheck={false} maxLength={p.max_length} onInput={(e) => set(e.currentTarget.value)}
      {...(numeric ? { type: 'number', min: p.min, max: p.max, step: p.type === 'integer' ? 1 : 'any' } : { type: 'text', placeholder: p.type === 'timestamp' ? '2026-01-31T00:00:00Z' : undefined })} />
  );
}
