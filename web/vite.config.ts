/** Builds the page into `dist-page`: static files that any web server can serve from any path. */

import { cpSync } from "node:fs";
import { resolve } from "node:path";
import license from "rollup-plugin-license";
import { defineConfig } from "vite";
import type { Plugin } from "vite";

const OUTPUT = resolve(import.meta.dirname, "dist-page");

/** With it the browser itself blocks requests to any other host. The development server needs more. */
const POLICY = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "img-src 'self' blob: data:",
  "media-src 'self' blob:",
  "connect-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

function contentSecurityPolicy(): Plugin {
  return {
    name: "content-security-policy",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
        injectTo: "head-prepend",
      },
    ],
  };
}

/** Puts the collected assets and the example photo beside the page. */
function pageAssets(): Plugin {
  return {
    name: "page-assets",
    apply: "build",
    closeBundle() {
      cpSync("assets", resolve(OUTPUT, "assets"), { recursive: true });
      cpSync("../tests/data/astronaut.jpg", resolve(OUTPUT, "example.jpg"));
    },
  };
}

export default defineConfig({
  root: "page",
  base: "./",
  publicDir: false,
  build: { outDir: OUTPUT, emptyOutDir: true, assetsDir: "code", target: "es2022" },
  plugins: [
    license({ thirdParty: { output: resolve(OUTPUT, "THIRD_PARTY.txt") } }),
    contentSecurityPolicy(),
    pageAssets(),
  ],
});
