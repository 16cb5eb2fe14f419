import { useComputed, useSignal, type ReadonlySignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { dark } from '../state/theme.js';

export interface Line<T> {
  label: string;
  mark: 1 | 2 | 3 | 4; // the colour, --series-N
  value: (sample: T) => number;
  fill?: boolean;
}

interface Props<T extends { at: number }> {
  title: string;
  samples: ReadonlySignal<T[]>;
  lines: Line<T>[];
  format: (value: number) => string;
  /** What the values are, which decides on the scale. */
  of?: 'counts' | 'bytes';
  /** The most time that the chart spans, in seconds. */
  span: number;
  /** Charts of one name show the same moment under the pointer. */
  sync?: string;
}

// Distances between the lines of a scale.
const decimal = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();
const binary = Array.from({ length: 48 }, (_, power) => 2 ** power);

const property = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A chart of the last minutes, with the values of now, or of the moment under the pointer, beside its name. */
export function Chart<T extends { at: number }>({ title, samples, lines, format, of = 'counts', span, sync }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const pointed = useSignal<number | null>(null);
  const shown = useComputed(() => samples.value.at(pointed.value ?? -1));

  useEffect(() => {
    const element = box.current!;
    const made = new uPlot(options(element, lines, format, of, sync, (index) => (pointed.value = index)), table(samples.peek(), lines, span), element);
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: element.clientHeight }));
    sized.observe(element);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [dark.value]);

  useEffect(() => plot.current?.setData(table(samples.value, lines, span)), [samples.value]);

  const told = shown.value;
  return (
    <figure class="panel chart">
      <figcaption>
        <h2>{title}</h2>
        {lines.map((line) => (
          <span key={line.label} class={`legend mark-${line.mark}`}>{line.label} <b>{told ? format(line.value(told)) : '–'}</b></span>
        ))}
      </figcaption>
      <div class="plot" ref={box} role="img" aria-label={`${title} over the last ${Math.round(span / 60)} minutes; the newest values stand above`} />
    </figure>
  );
}

const least = 60; // seconds that a chart spans however little there is

/** The data in columns, with a moment before the first that makes the span. */
function table<T extends { at: number }>(samples: T[], lines: Line<T>[], span: number): uPlot.AlignedData {
  const end = samples.at(-1)?.at ?? Date.now() / 1000;
  const begin = Math.max(end - span, Math.min(samples[0]?.at ?? end, end - least));
  const kept = samples.filter((s) => s.at > begin);
  return [[begin, ...kept.map((s) => s.at)], ...lines.map((line) => [null, ...kept.map(line.value)])] as uPlot.AlignedData;
}

function options<T>(
  element: HTMLElement, lines: Line<T>[], format: (value: number) => string, of: 'counts' | 'bytes', sync: string | undefined, point: (index: number | null) => void,
): uPlot.Options {
  const axis = { stroke: property('--soft'), font: '11px system-ui, sans-serif', ticks: { show: false }, grid: { stroke: property('--grid'), width: 1 } };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false }, ...(sync ? { sync: { key: sync } } : {}) },
    hooks: { setCursor: [(u) => point(u.cursor.idx == null || u.cursor.idx === 0 || (u.cursor.left ?? -1) < 0 ? null : u.cursor.idx - u.data[0].length)] },
    scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.15, of === 'bytes' ? 1024 : 4)] } },
    axes: [
      { ...axis, space: 64, size: 24, incrs: [5, 10, 15, 30, 60, 120], values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString('en-GB')) },
      { ...axis, size: 58, space: 32, incrs: of === 'bytes' ? binary : decimal, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      {},
      ...lines.map((line) => {
        const stroke = property(`--series-${line.mark}`);
        return { stroke, width: 1.75, points: { show: false }, ...(line.fill ? { fill: `${stroke}22` } : {}) };
      }),
    ],
  };
}
