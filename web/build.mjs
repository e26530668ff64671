// Bundles web/src into ruichat/assets/web, with a digest of the sources that it was built from.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const web = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(web, "..", "ruichat", "assets", "web");
mkdirSync(out, { recursive: true });

await build({
  entryPoints: { ruichat: join(web, "src", "main.js"), login: join(web, "src", "login.js") },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome123", "firefox120", "safari17.5"],
  legalComments: "none",
  logLevel: "warning",
});
await build({
  entryPoints: { ruichat: join(web, "src", "style.css") },
  outdir: out,
  bundle: true,
  minify: true,
  logLevel: "warning",
});
copyFileSync(
  join(web, "node_modules", "openseadragon", "LICENSE.txt"),
  join(out, "OPENSEADRAGON-LICENSE.txt"),
);

const digest = createHash("sha256");
for (const name of ["build.mjs", "package-lock.json", ...sources("src")]) {
  digest.update(name + "\0");
  digest.update(readFileSync(join(web, name)));
}
writeFileSync(join(out, "SOURCES.sha256"), digest.digest("hex") + "\n");

function sources(folder) {
  return readdirSync(join(web, folder))
    .sort()
    .map((name) => `${folder}/${name}`);
}
