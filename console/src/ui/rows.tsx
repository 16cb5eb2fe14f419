import { useSignal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { inline } from './format.js';

export interface Row {
  key: string | number;
  values: readonly unknown[];
  /** What has just become of it. */
  change?: 'insert' | 'update';
}

const height = 30; // of a row, in pixels, as .rows has it
const beyond = 8; // rows that are drawn above and below what is seen

/** A table of which only the rows in sight are drawn. */
export function Rows({ columns, rows, label, first = 1 }: { columns: readonly string[]; rows: readonly Row[]; label: string; first?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal({ top: 0, height: 440 });
  useLayoutEffect(() => {
    const element = box.current!;
    const look = () => (seen.value = { top: element.scrollTop, height: element.clientHeight });
    element.addEventListener('scroll', look, { passive: true });
    const sized = new ResizeObserver(look);
    sized.observe(element);
    return () => {
      element.removeEventListener('scroll', look);
      sized.disconnect();
    };
  }, []);
  const from = Math.max(0, Math.floor(seen.value.top / height) - beyond);
  const to = Math.min(rows.length, Math.ceil((seen.value.top + seen.value.height) / height) + beyond);
  return (
    <div class="rows" ref={box} tabIndex={0} role="region" aria-label={label}>
      <table aria-rowcount={rows.length + 1} data-testid="rows">
        <thead><tr><th scope="col" class="numeric">#</th>{columns.map((name) => <th scope="col" key={name}>{name}</th>)}</tr></thead>
        <tbody>
          <Spacer rows={from} columns={columns.length + 1} />
          {rows.slice(from, to).map((row, i) => (
            <tr key={row.key} class={row.change} aria-rowindex={from + i + 2}>
              <td class="numeric">{first + from + i}</td>
              {row.values.map((value, column) => <td key={column} title={inline(value)}>{value === null ? <span class="about">null</span> : inline(value)}</td>)}
            </tr>
          ))}
          <Spacer rows={rows.length - to} columns={columns.length + 1} />
        </tbody>
      </table>
    </div>
  );
}

const Spacer = ({ rows, columns }: { rows: number; columns: number }) => (rows <= 0 ? null : (
  <tr class="spacer" aria-hidden="true"><td colSpan={columns} style={{ height: `${rows * height}px` }} /></tr>
));
