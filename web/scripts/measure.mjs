/**
 * Measures the built library and page in Chromium and prints JSON. Used by tools/measure_web.py.
 *
 * node scripts/measure.mjs FRAMES: number of files test/data/frames/N.png; the camera shows
 * test/data/camera.mjpeg.
 */

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { preview } from "vite";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const frames = Number(process.argv[2]);
const headers = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const server = await preview({
  configFile: false,
  appType: "mpa",
  root: web,
  build: { outDir: "." },
  // Isolated, so that the build with threads can be measured, too.
  preview: { host: "127.0.0.1", port: 0, headers },
  logLevel: "error",
});
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-video-capture=${web}/test/data/camera.mjpeg`,
  ],
});
const url = `http://127.0.0.1:${server.httpServer.address().port}/`;

async function inPage(run, argument) {
  const page = await browser.newPage();
  await page.goto(`${url}scripts/measure.html`);
  await page.waitForFunction("window.library && window.LiteRt");
  const result = await page.evaluate(run, argument);
  await page.close();
  return result;
}

/** The library: whole calls, and the networks alone. */
async function library(frames) {
  const { Aligner, drawFaces, Tracker } = window.library;
  const load = async (name) => createImageBitmap(await (await fetch(`/test/data/${name}`)).blob());
  const photo = await load("portrait.jpg");
  const bitmaps = [];
  for (let number = 0; number < frames; number++) bitmaps.push(await load(`frames/${number}.png`));
  const times = {};
  const measure = async (name, count, task) => {
    times[name] = [];
    for (let index = -30; index < count; index++) {
      const before = performance.now();
      await task(index);
      if (index >= 0) times[name].push(performance.now() - before);
    }
  };
  const before = performance.now();
  const aligner = await Aligner.create();
  times.load = [performance.now() - before];
  const { pixels } = await aligner.read(photo);
  const [face] = await aligner.align(photo);
  const crop = new Uint8Array(3 * aligner.model.inputSize ** 2);
  await measure("network", 100, () => aligner.model.predict(crop));
  await measure("short_detector", 30, () => aligner.finder("short").detect(pixels));
  await measure("full_detector", 20, () => aligner.finder("full").detect(pixels));
  await measure("photo", 20, () => aligner.align(photo));
  await measure("photo_with_box", 50, () => aligner.align(photo, { boxes: [face.box] }));
  const fitter = await aligner.fitter();
  await measure("fit", 100, () => fitter.fit(face, photo.height));
  const [whole] = await aligner.align(photo, { mesh: true });
  const context = new OffscreenCanvas(photo.width, photo.height).getContext("2d");
  await measure("draw_mesh", 50, () => drawFaces(context, [whole], ["mesh"]));
  const tracker = new Tracker(aligner);
  let time = 0;
  await measure("video_frame", 2 * frames, (index) =>
    tracker.update(bitmaps[(index + 30) % frames], ++time / 30),
  );
  return times;
}

/** The networks alone in another build of the runtime. */
async function build([file, threads]) {
  const { loadLiteRt, loadAndCompile, Tensor } = window.LiteRt;
  await loadLiteRt(file, { threads });
  const times = {};
  const networks = {
    network: ["models/fast_dhm_m_web.tflite", 100],
    short_detector: ["detectors/face_detection_short_range.tflite", 50],
    full_detector: ["detectors/face_detection_back.tflite", 30],
  };
  for (const [name, [path, count]] of Object.entries(networks)) {
    const model = await loadAndCompile(`/dist/assets/${path}`, { accelerator: "wasm" });
    const [{ dtype, shape }] = model.getInputDetails();
    const size = shape.reduce((product, side) => product * side, 1);
    const data = dtype === "uint8" ? new Uint8Array(size) : new Float32Array(size);
    times[name] = [];
    for (let index = -30; index < count; index++) {
      const before = performance.now();
      const input = new Tensor(data, [...shape]);
      const outputs = await model.run([input]);
      for (const output of outputs) {
        output.toTypedArray();
        output.delete();
      }
      input.delete();
      if (index >= 0) times[name].push(performance.now() - before);
    }
    model.delete();
  }
  return times;
}

/** What the page shows after some seconds of the camera: milliseconds a frame and frames a second. */
async function camera(parts) {
  const context = await browser.newContext({ permissions: ["camera"] });
  const page = await context.newPage();
  await page.goto(`${url}dist-page/`);
  await page.getByText("Ready.").waitFor();
  for (const part of parts) await page.check(`input[value=${part}]`);
  await page.click("#camera");
  await page.getByText("Camera: 1 face").waitFor();
  await page.waitForTimeout(8000);
  const shown = await page.textContent("#speed");
  await context.close();
  const [, milliseconds, rate] = shown.match(/^([\d.]+) ms · (\d+) frames\/s$/);
  return { milliseconds: Number(milliseconds), rate: Number(rate) };
}

const folder = "/node_modules/@litertjs/core/wasm/";
const builds = {
  compat: [`${folder}litert_wasm_compat_internal.js`, false],
  "relaxed SIMD": [`${folder}litert_wasm_internal.js`, false],
  "relaxed SIMD, threads": [folder, true],
};
const result = {
  browser: browser.version(),
  library: await inPage(library, frames),
  camera: { "points and contours": await camera([]), "and the whole face": await camera(["mesh"]) },
  builds: {},
};
for (const [name, options] of Object.entries(builds)) result.builds[name] = await inPage(build, options);
console.log(JSON.stringify(result));
await browser.close();
await server.close();
