/**
 * Collects what the library loads at run time into `assets/`: LiteRT's WebAssembly build, the landmark
 * models and the face detectors. The networks come from the Python package beside this folder.
 */

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const repository = dirname(web);
const target = join(web, "assets");
const constants = JSON.parse(readFileSync(join(web, "src", "constants.json"), "utf8"));

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

function copy(source, ...path) {
  if (!existsSync(source)) fail(`${source} is missing.`);
  const file = join(target, ...path);
  mkdirSync(dirname(file), { recursive: true });
  copyFileSync(source, file);
}

rmSync(target, { recursive: true, force: true });

const runtime = join(web, "node_modules", "@litertjs", "core", "wasm");
if (!existsSync(runtime)) fail("@litertjs/core is not installed. Run `npm ci` first.");
for (const suffix of ["js", "wasm"]) {
  const file = `litert_wasm_compat_internal.${suffix}`;
  copy(join(runtime, file), "wasm", file);
}

for (const { file } of Object.values(constants.detectors)) {
  copy(join(repository, "tf_dhm", "assets", file), "detectors", file);
}

copy(join(repository, "tf_dhm", "assets", "FACE_DETECTION.md"), "FACE_DETECTION.md");

copy(join(web, "face", "open_face.safetensors"), "face", "open_face.safetensors");
copy(join(repository, "tf_dhm", "assets", "OPEN_FACE.md"), "face", "OPEN_FACE.md");

// The newest version of each model with a web file.
const models = [];
const savedmodels = join(repository, "savedmodels");
for (const name of readdirSync(savedmodels).sort()) {
  const folder = join(savedmodels, name);
  if (!statSync(folder).isDirectory()) continue;
  const versions = readdirSync(folder)
    .filter((version) => /^\d+$/.test(version))
    .map(Number);
  const file = `${name}_web.tflite`;
  const source = join(folder, String(Math.max(...versions)), file);
  if (!existsSync(source)) continue;
  copy(source, "models", file);
  models.push({ name, bytes: statSync(source).size });
}
if (!models.some(({ name }) => name === constants.defaultModel)) {
  fail(
    `${savedmodels} has no ${constants.defaultModel}_web.tflite. ` +
      `Write it with: python export.py --model savedmodels/${constants.defaultModel} --tflite web`,
  );
}
writeFileSync(join(target, "models.json"), `${JSON.stringify(models, null, 1)}\n`);
