/** Chromium and a static server for the tests. */

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { preview } from "vite";

import { dataFile } from "../data.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const CAMERA = [
  "--use-fake-device-for-media-stream",
  `--use-file-for-fake-video-capture=${dataFile("camera.mjpeg")}`,
];

export async function launch({ camera = false, flags = [] as string[] } = {}): Promise<Browser> {
  if (!existsSync(CHROMIUM)) {
    throw new Error(
      `${CHROMIUM} is missing. Install Chromium (apt-get install chromium) or set CHROMIUM to its path.`,
    );
  }
  return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...(camera ? CAMERA : []), ...flags] });
}

export interface Server {
  url: string;
  close(): Promise<void>;
}

/** Serves a folder of built files on a free port of 127.0.0.1. */
export async function serve(folder: string, headers: Record<string, string> = {}): Promise<Server> {
  if (!existsSync(`${folder}/index.html`)) {
    throw new Error(`${folder}/index.html is missing. Build it first: npm run build`);
  }
  const server = await preview({
    configFile: false,
    // A missing file is answered with status 404, not with the page.
    appType: "mpa",
    root: folder,
    build: { outDir: "." },
    preview: { host: "127.0.0.1", port: 0, headers },
    logLevel: "error",
  });
  const { port } = server.httpServer.address() as { port: number };
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() };
}

/** A page, what went wrong in it, and the other hosts that it asked for. */
export interface Visit {
  page: Page;
  errors: string[];
  /** Requests to other hosts, which are blocked. */
  others: string[];
  close(): Promise<void>;
}

/**
 * Opens a page.
 *
 * @param prepare runs before the page is loaded.
 */
export async function visit(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
  prepare: (page: Page) => Promise<unknown> = async () => {},
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1000, height: 900 }, ...options });
  const page = await context.newPage();
  const errors: string[] = [];
  const others: string[] = [];
  page.on("console", (entry) => {
    if (entry.type() === "error") errors.push(entry.text());
  });
  page.on("pageerror", (error) => errors.push(error.message));
  const host = new URL(url).host;
  await context.route(
    (address) => address.protocol.startsWith("http") && address.host !== host,
    (route) => {
      others.push(route.request().url());
      return route.abort();
    },
  );
  await prepare(page);
  await page.goto(url);
  return { page, errors, others, close: () => context.close() };
}
