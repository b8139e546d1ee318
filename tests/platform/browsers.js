/**
 * Rows whose runtime is a browser: page, module worker, service worker, extension, with and without cross-origin
 * isolation and a strict content security policy.
 */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { resolveBareNames, startServer } from "./server.js";

const CHROMIUM_SWITCHES = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
  ...["--disable-background-networking", "--disable-component-update"],
];

/** Name → [headers (server.js), what runs the probe (probe/page.js)]. */
const PAGES = {
  "page": ["plain", "page"],
  "page, isolated": ["isolated", "page"],
  "module worker": ["plain", "worker"],
  "module worker, isolated": ["isolated", "worker"],
  "service worker": ["plain", "service"],
  "page, CSP": ["csp", "page"],
  // The policy forbids blob: workers, so the page names flashtile/worker by URL.
  "page, CSP, isolated": ["csp,isolated", "page"],
};
/** Manifest version 3, whose policy is strict and whose pages are isolated (probe/manifest.json). */
const EXTENSION = "extension";

const BROWSERS = {
  Chromium: {
    path: ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"],
    options: {
      browser: "chrome",
      args: CHROMIUM_SWITCHES,
      enableExtensions: true,
      pipe: true,
    },
    pages: { ...PAGES, [EXTENSION]: null },
  },
  Firefox: {
    path: ["/usr/bin/firefox-esr", "/usr/bin/firefox"],
    options: { browser: "firefox" },
    pages: PAGES,
  },
};

/** Tasks {name, work}; a browser starts with its first row. Call close() after the last. */
export function openBrowsers(folder) {
  const open = [];
  let server;
  const launch = async (executablePath, options) => {
    server ??= await startServer(folder);
    const browser = await puppeteer.launch({
      ...options,
      executablePath,
      protocolTimeout: 300_000,
    });
    open.push(browser);
    return browser;
  };
  const address = async (browser, page, settings) => {
    if (page !== EXTENSION) {
      return `${server.origin}/${settings[0]}/page.html?${settings[1]}`;
    }
    return `chrome-extension://${await browser.installExtension(makeExtension(folder))}/page.html?page`;
  };
  return {
    *tasks() {
      for (const [name, { path, options, pages }] of Object.entries(BROWSERS)) {
        const executablePath = path.find((file) => existsSync(file));
        let browser;
        for (const [page, settings] of Object.entries(pages)) {
          const work = async () => {
            if (!executablePath) return null;
            browser ??= await launch(executablePath, options);
            return visit(browser, await address(browser, page, settings));
          };
          yield { name: `${name}, ${page}`, work };
        }
      }
    },
    async close() {
      for (const browser of open) await browser.close();
      server?.close();
    },
  };
}

/** The workplace as an unpacked extension, its bare names resolved as the server does it. */
function makeExtension(folder) {
  const extension = join(folder, "extension");
  cpSync(join(folder, "node_modules"), join(extension, "node_modules"), {
    recursive: true,
  });
  for (const name of readdirSync(folder)) {
    if (name.endsWith(".html") || name === "manifest.json") {
      cpSync(join(folder, name), join(extension, name));
    }
    if (!name.endsWith(".js")) continue;
    writeFileSync(join(extension, name), resolveBareNames(readFileSync(join(folder, name), "utf8")));
  }
  return extension;
}

async function visit(browser, url) {
  const page = await browser.newPage();
  const noise = [];
  page.on("pageerror", (error) => noise.push(String(error)));
  page.on("console", (message) => noise.push(message.text()));
  try {
    await page.goto(url);
    const { row, error } = await page.evaluate(() => globalThis.outcome);
    if (error) throw new Error([error, ...noise].join("\n"));
    return row;
  } finally {
    await page.close();
  }
}
