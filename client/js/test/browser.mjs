// Chromium, for what must be tried in a browser.
import { chromium } from 'playwright-core';

/** browser starts a Chromium, which the test's end closes, and gives a function that makes pages. Errors on them fail the test. */
export async function browser(t) {
  const running = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  t.after(() => running.close());
  return async (url, options) => {
    const page = await running.newPage(options);
    page.setDefaultTimeout(10_000);
    page.errors = [];
    page.on('pageerror', (error) => page.errors.push(error.stack));
    await page.goto(url);
    return page;
  };
}
