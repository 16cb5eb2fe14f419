/** Where the slow reader's worker lies, below the page; the build sets it. */
declare const READER: string;

declare module '*.css';
