// Builds the page into the Python package, with names that stay the same, so that git and the wheel have one copy.
import { readFileSync, readdirSync } from "node:fs";
import { defineConfig } from "vite";

/** Writes the licences of the bundled packages beside the bundle, as they ask for. */
function licences() {
  return {
    name: "licences",
    generateBundle(_options, bundle) {
      const modules = Object.values(bundle).flatMap((chunk) => Object.keys(chunk.modules ?? {}));
      const folders = modules.flatMap((id) => id.replace("\0", "").match(/^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/) ?? []);
      const texts = [...new Set(folders)].map((folder) => {
        const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
        const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        const text = file === undefined ? "" : `\n${readFileSync(`${folder}/${file}`, "utf8").trim()}\n`;
        return [name, `${name} ${version} (${license})\n${text}`];
      });
      const source = texts.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text).join("\n----\n\n");
      this.emitFile({ type: "asset", fileName: "page/licences.txt", source });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [licences()],
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "../flowlane/northbound/static",
    emptyOutDir: true,
    target: ["chrome123", "firefox120", "safari17.5"],
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: "page/page.js",
        assetFileNames: "page/page.[ext]",
        inlineDynamicImports: true,
      },
    },
  },
});
