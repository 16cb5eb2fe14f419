import type { ComponentChildren } from 'preact';

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {children}
    </svg>
  );
}

export const Logo = () => (
  <svg viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="8" fill="#1668c7" />
    <path d="M5 18h5l3-9 5 15 3-9h6" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round" />
  </svg>
);

export const icons = {
  overview: <Icon><path d="M3 12h4l3-8 4 16 3-8h4" /></Icon>,
  connections: <Icon><circle cx="6" cy="6" r="2.5" /><circle cx="18" cy="6" r="2.5" /><circle cx="12" cy="18" r="2.5" /><path d="M7.5 8l3.3 7.6M16.5 8l-3.3 7.6M8.5 6h7" /></Icon>,
  channels: <Icon><path d="M4 9h16M4 15h16M10 3L8 21M16 3l-2 18" /></Icon>,
  streams: <Icon><path d="M4 6h10M4 12h16M4 18h7" /><path d="M17 16l3 2-3 2" /></Icon>,
  query: <Icon><path d="M5 7l5 5-5 5M12 18h7" /></Icon>,
  live: <Icon><path d="M2.5 12s3.5-6.5 9.5-6.5S21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z" /><circle cx="12" cy="12" r="2.8" /></Icon>,
  flow: <Icon><path d="M4 5h16l-6 7v6l-4 2v-8z" /></Icon>,
  light: <Icon><circle cx="12" cy="12" r="4" /><path d="M12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M5 19l1.7-1.7M17.3 6.7L19 5" /></Icon>,
  dark: <Icon><path d="M20 14.5A8.5 8.5 0 019.5 4 8.5 8.5 0 1020 14.5z" /></Icon>,
  system: <Icon><rect x="3" y="4" width="18" height="13" rx="2" /><path d="M9 21h6M12 17v4" /></Icon>,
};
