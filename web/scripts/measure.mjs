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

/** Opens the page with permission for the camera, and counts the frames that it asks for. */
async function openPage() {
  const context = await browser.newContext({ permissions: ["camera"] });
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.frames = 0;
    const { prototype } = HTMLVideoElement;
    const request = prototype.requestVideoFrameCallback;
    prototype.requestVideoFrameCallback = function (callback) {
      return request.call(this, (...frame) => {
        window.frames++;
        callback(...frame);
      });
    };
  });
  await page.goto(`${url}dist-page/`);
  await page.getByText("Ready.").waitFor();
  return page;
}

const session = await browser.newBrowserCDPSession();

/** Frames so far, CPU time of all processes of the browser and the time, in milliseconds. */
async function reading(page) {
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const cpu = processInfo.reduce((sum, { cpuTime }) => sum + 1000 * cpuTime, 0);
  return { frames: await page.evaluate("frames"), cpu, time: performance.now() };
}

/** Frames a second and milliseconds of CPU time a frame of a page whose camera runs. */
async function speedOf(page) {
  await page.waitForTimeout(3000);
  const first = await reading(page);
  await page.waitForTimeout(10000);
  const last = await reading(page);
  const frames = last.frames - first.frames;
  const rate = (1000 * frames) / (last.time - first.time);
  return { rate, cpu: (last.cpu - first.cpu) / frames };
}

/** The page with the camera. */
async function camera(parts) {
  const page = await openPage();
  for (const part of parts) await page.check(`input[value=${part}]`);
  await page.click("#camera");
  await page.getByText("Camera: 1 face").waitFor();
  const speed = await speedOf(page);
  const shown = await page.textContent("#speed");
  await page.context().close();
  return { ...speed, milliseconds: Number(shown.match(/^([\d.]+) ms · \d+ frames\/s$/)[1]) };
}

/** The camera on the page's canvas, without the search for faces. */
async function pictureOnly() {
  const page = await openPage();
  await page.evaluate(async () => {
    const video = document.createElement("video");
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    await video.play();
    const canvas = document.getElementById("canvas");
    [canvas.width, canvas.height, canvas.hidden] = [640, 480, false];
    const context = canvas.getContext("2d");
    video.requestVideoFrameCallback(function draw() {
      video.requestVideoFrameCallback(draw);
      context.drawImage(video, 0, 0);
    });
  });
  const speed = await speedOf(page);
  await page.context().close();
  return { ...speed, milliseconds: null };
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
  camera: {
    "picture only": await pictureOnly(),
    "points and contours": await camera([]),
    "and the whole face": await camera(["mesh"]),
  },
  builds: {},
};
for (const [name, options] of Object.entries(builds)) result.builds[name] = await inPage(build, options);
console.log(JSON.stringify(result));
await browser.close();
await server.close();
