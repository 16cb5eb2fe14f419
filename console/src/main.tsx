import { render } from 'preact';
import { App } from './app.js';
import { poll } from './state/stats.js';

poll.start();
render(<App />, document.getElementById('app')!);
