// Bundles the action: `node build.ts FOLDER` writes FOLDER/main.js and FOLDER/post.js.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  throw new Error("usage: node build.ts FOLDER");
}
// The licence of @actions/core goes with every copy of it.
const licence = join(import.meta.dirname, "node_modules/@actions/core/LICENSE.md");
await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["src/main.ts", "src/post.ts"],
  outdir: folder,
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  footer: { js: `/* @actions/core:\n${readFileSync(licence, "utf8").trim()}\n*/` },
  // @actions/core fetches ID tokens and inspects the platform with these. The action uses neither.
  alias: {
    "@actions/http-client": "./src/unused.ts",
    "@actions/http-client/lib/auth": "./src/unused.ts",
    "@actions/exec": "./src/unused.ts",
  },
});
