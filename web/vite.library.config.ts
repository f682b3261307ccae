/** Builds the library into `dist`: one module without dependencies, its types, and the assets beside it. */

import { cpSync } from "node:fs";
import { defineConfig } from "vite";
import license from "rollup-plugin-license";

export default defineConfig({
  publicDir: false,
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    minify: false,
    sourcemap: true,
    lib: { entry: "src/index.ts", formats: ["es"], fileName: "index" },
  },
  plugins: [
    license({ thirdParty: { output: "dist/THIRD_PARTY.txt" } }),
    {
      name: "library-assets",
      closeBundle() {
        cpSync("assets", "dist/assets", { recursive: true });
      },
    },
  ],
});
