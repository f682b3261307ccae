/**
 * Tries the built page in Firefox: photos, a video, the camera and a broken file.
 *
 * npm install --no-save puppeteer-core@24.43.1
 * node scripts/firefox.mjs [SCREENSHOTS]: FIREFOX names the program, by default Debian's firefox-esr. It needs
 * the files of tools/web_test_data.py.
 */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";
import { preview } from "vite";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const screenshots = process.argv[2];
if (screenshots) mkdirSync(screenshots, { recursive: true });
const data = (name) => join(web, "test", "data", name);
const expected = JSON.parse(readFileSync(data("expected.json"), "utf8"));
const [model] = Object.keys(expected.photos);

const server = await preview({
  configFile: false,
  appType: "mpa",
  root: join(web, "dist-page"),
  build: { outDir: "." },
  preview: { host: "127.0.0.1", port: 0 },
  logLevel: "error",
});
const url = `http://127.0.0.1:${server.httpServer.address().port}/`;
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
  headless: true,
  extraPrefsFirefox: { "media.navigator.streams.fake": true, "media.navigator.permission.disabled": true },
});
const page = await browser.newPage();
await page.setViewport({ width: 1000, height: 900 });
const faults = [];
page.on("console", (entry) => {
  if (entry.type() === "error") faults.push(entry.text());
});
page.on("pageerror", (error) => faults.push(error.message));
page.on("request", (request) => {
  if (/^https?:/.test(request.url()) && !request.url().startsWith(url)) faults.push(request.url());
});

/** Waits until the text of an element matches, and returns the text. */
async function text(id, pattern) {
  await page.waitForFunction(
    (id, pattern) => new RegExp(pattern).test(document.getElementById(id).textContent),
    { timeout: 60_000 },
    id,
    pattern,
  );
  return page.$eval(`#${id}`, (element) => element.textContent);
}

async function open(id, name) {
  const input = await page.$(id);
  await input.uploadFile(data(name));
}

/** The faces of the JSON file that the page saves. */
async function savedFaces() {
  await page.evaluate(() => {
    window.saved = null;
    const create = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
      URL.createObjectURL = create;
      void blob.text().then((text) => (window.saved = JSON.parse(text)));
      return create.call(URL, blob);
    };
  });
  await page.click("#save-json");
  await page.waitForFunction("window.saved");
  return (await page.evaluate("window.saved")).faces;
}

async function done(step, result) {
  console.log(`${step}: ${result}`);
  if (screenshots)
    await page.screenshot({ path: join(screenshots, `${step.replace(/\W+/g, "_")}.png`), fullPage: true });
}

console.log(await browser.version());
await page.goto(url);
await text("status", "^Ready\\.$");
await page.click("input[value=mesh]");
for (const name of ["portrait.jpg", "two_faces.png"]) {
  await open("#photo-file", name);
  const status = await text("status", `^${name}: \\d faces? in`);
  const faces = await savedFaces();
  const truths = expected.photos[model][name].detected;
  assert.equal(faces.length, truths.length);
  const differences = faces.flatMap(({ landmarks, p }, face) => {
    assert.equal(p.length, 234);
    return landmarks.flatMap((point, index) =>
      point.map((value, axis) => Math.abs(value - truths[face].landmarks[index][axis])),
    );
  });
  assert(Math.max(...differences) < 1);
  await done(name, `${status}, largest difference to Python ${Math.max(...differences).toFixed(4)} px`);
}
await open("#photo-file", "broken.jpg");
await done("broken photo", await text("message", "^broken\\.jpg is not a picture"));
await open("#video-file", "video.webm");
await text("status", "^video\\.webm: 1 face$");
const tips = [];
for (let moment = 0; moment < 4; moment++) {
  const faces = await savedFaces();
  assert.deepEqual(
    faces.map(({ id }) => id),
    [0],
  );
  tips.push(faces[0].landmarks[30][0]);
  await new Promise((resolve) => setTimeout(resolve, 300));
}
assert(Math.max(...tips) - Math.min(...tips) > 10);
await done("video", await text("speed", "frames/s"));
// Firefox's own picture, which has no face.
await page.click("#camera");
await text("status", "^Camera: No faces$");
await done("camera", await text("speed", "frames/s"));
await page.click("#camera");
await text("status", "^Stopped\\.$");
assert.deepEqual(faults, []);
console.log("No errors in the console, and no requests to other hosts.");
await browser.close();
await server.close();
