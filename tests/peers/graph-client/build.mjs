// Bundles page.mjs for browsers, as an app would: node build.mjs <folder to write page.js and index.html into>
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const [folder] = process.argv.slice(2);
if (!folder) throw new Error('usage: node build.mjs FOLDER');
await build({
  entryPoints: [fileURLToPath(new URL('page.mjs', import.meta.url))],
  outfile: join(folder, 'page.js'),
  bundle: true,
  format: 'esm',
  logLevel: 'warning',
});
const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Graph client</title>
<link rel="icon" href="data:,">
<body>
<script type="module" src="/page.js"></script>
`;
await writeFile(join(folder, 'index.html'), page);
