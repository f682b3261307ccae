/** The built page in Chromium: photos, camera, videos, faults, and use by keyboard and on a phone. */

import axe from "axe-core";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import type { FaceRecord } from "../../src/index.js";
import { dataFile, expected, largestDifference } from "../data.js";
import { launch, serve, visit } from "./chromium.js";
import type { Server, Visit } from "./chromium.js";

const PAGE = resolve(import.meta.dirname, "../../dist-page");
/** Folder for screenshots of every state, if it is set. */
const SCREENSHOTS = process.env.SCREENSHOTS;
const READY = /^Ready\.$|^Not available\.$/;

let server: Server;
let browser: Browser;
let visits: Visit[] = [];

beforeAll(async () => {
  server = await serve(PAGE);
  browser = await launch({ camera: true });
});

afterEach(async () => {
  for (const visited of visits) await visited.close();
  visits = [];
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

/** Opens the page; checks at its end that it logged no error and asked no other host. */
async function open(options: BrowserContextOptions = {}, chromium = browser): Promise<Page> {
  const visited = await visit(chromium, server.url, options);
  visits.push(visited);
  await visited.page.locator("#status").filter({ hasText: READY }).waitFor();
  return visited.page;
}

async function visitWith(prepare: (page: Page) => Promise<unknown>): Promise<Visit> {
  const visited = await visit(browser, server.url, {}, prepare);
  visits.push(visited);
  return visited;
}

function expectQuiet(): void {
  for (const { errors, others } of visits) {
    expect(errors).toEqual([]);
    expect(others).toEqual([]);
  }
}

async function shoot(page: Page, name: string): Promise<void> {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: resolve(SCREENSHOTS, `${name}.png`), fullPage: true });
}

async function openPhoto(page: Page, photo: string): Promise<void> {
  await page.setInputFiles("#photo-file", dataFile(photo));
  await page
    .locator("#status")
    .filter({ hasText: /faces? in \d+ ms/ })
    .waitFor();
}

async function savedFaces(page: Page): Promise<{ model: string; width: number; faces: FaceRecord[] }> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-json")]);
  expect(download.suggestedFilename()).toBe("faces.json");
  return JSON.parse(readFileSync(await download.path(), "utf8"));
}

/** Colours of the canvas at the landmarks of a face: the points are drawn there. */
function coloursAt(page: Page, points: number[][]): Promise<number[][]> {
  return page.locator("#canvas").evaluate((canvas: HTMLCanvasElement, points) => {
    const context = canvas.getContext("2d")!;
    return points.map(([x, y]) => [...context.getImageData(Math.round(x), Math.round(y), 1, 1).data]);
  }, points);
}

const [MODEL, SMALL_MODEL] = Object.keys(expected.photos);

describe("a photo", () => {
  test("its face is found, drawn, listed and saved", async () => {
    const page = await open();
    await shoot(page, "start");
    await openPhoto(page, "portrait.jpg");
    await shoot(page, "photo");
    const saved = await savedFaces(page);
    const [truth] = expected.photos[MODEL]["portrait.jpg"].detected;
    expect(saved.model).toBe(MODEL);
    expect(saved.faces).toHaveLength(1);
    expect(largestDifference(saved.faces[0].landmarks, truth.landmarks)).toBeLessThan(1);
    expect(await page.locator("#faces td").first().textContent()).toBe("1");
    expect(await page.locator("#canvas").getAttribute("aria-label")).toBe("portrait.jpg: 1 face");

    // Points are green; without them the picture is seen.
    const inner = saved.faces[0].landmarks.slice(36, 48);
    const green = (colours: number[][]) =>
      colours.filter(([r, g, b]) => g > 150 && g > r && g > b + 80).length;
    expect(green(await coloursAt(page, inner))).toBeGreaterThan(8);
    await page.getByLabel("Points", { exact: true }).uncheck();
    await page.getByLabel("Contours").uncheck();
    expect(green(await coloursAt(page, inner))).toBe(0);

    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save-png")]);
    const png = readFileSync(await download.path());
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([512, 512]);
    expectQuiet();
  });

  test("two faces, all parts drawn", async () => {
    const page = await open();
    await openPhoto(page, "two_faces.png");
    for (const part of ["Whole face", "Pose axes", "Box"]) await page.getByLabel(part).check();
    await shoot(page, "two_faces");
    expect(await page.locator("#faces tr").count()).toBe(2);
    const { faces } = await savedFaces(page);
    const truth = expected.photos[MODEL]["two_faces.png"].detected;
    faces.forEach((face, index) => {
      expect(largestDifference(face.landmarks, truth[index].landmarks)).toBeLessThan(1);
    });
    expectQuiet();
  });

  test("the whole face is fitted, drawn and saved", async () => {
    const page = await open();
    await openPhoto(page, "portrait.jpg");
    const before = (await savedFaces(page)).faces[0];
    expect(before.p).toBeUndefined();
    for (const part of ["Points", "Contours"]) await page.getByLabel(part, { exact: true }).uncheck();
    // Cheeks, chin and the bridge of the nose.
    const skin = [...before.landmarks.slice(28, 30), before.landmarks[33], before.landmarks[51]];
    const photo = await coloursAt(page, skin);
    await page.getByLabel("Whole face").check();
    await expect.poll(() => coloursAt(page, skin)).not.toEqual(photo);
    await shoot(page, "whole_face");
    const { faces } = await savedFaces(page);
    expect(faces[0].p).toHaveLength(234);
    expect(faces[0].matrix![3]).toEqual([0, 0, 0, 1]);
    expect(faces[0].residual).toBeGreaterThan(0);
    expect(faces[0].residual).toBeLessThan(5);
    expect(faces[0].expression!.jawOpen).toBeGreaterThanOrEqual(0);
    const { mesh } = expected.finding.find(({ options }: any) => options.mesh).faces[0];
    expect(largestDifference(faces[0].p!.slice(1, 4), mesh.p.slice(1, 4))).toBeLessThan(0.01);
    await page.getByLabel("Whole face").uncheck();
    expect(await coloursAt(page, skin)).toEqual(photo);
    // A photo that is opened with the setting.
    await page.getByLabel("Whole face").check();
    await openPhoto(page, "two_faces.png");
    await shoot(page, "whole_faces");
    for (const face of (await savedFaces(page)).faces) expect(face.p).toHaveLength(234);
    expectQuiet();
  });

  test("another model", async () => {
    const page = await open();
    await openPhoto(page, "portrait.jpg");
    await page.getByLabel("Network").selectOption(SMALL_MODEL);
    await page
      .locator("#status")
      .filter({ hasText: /faces? in \d+ ms/ })
      .waitFor();
    const { model, faces } = await savedFaces(page);
    expect(model).toBe(SMALL_MODEL);
    const [truth] = expected.photos[SMALL_MODEL]["portrait.jpg"].detected;
    expect(largestDifference(faces[0].landmarks, truth.landmarks)).toBeLessThan(1);
    expectQuiet();
  });

  test("no face, the example, a dropped file", async () => {
    const page = await open();
    await openPhoto(page, "no_face.png");
    expect(await page.locator("#status").textContent()).toMatch(/^no_face\.png: No faces in/);
    await page.click("#example");
    await page
      .locator("#status")
      .filter({ hasText: /^Example photo: 1 face in/ })
      .waitFor();
    const bytes = [...readFileSync(dataFile("two_faces.png"))];
    await page.evaluate((bytes) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
      document
        .getElementById("stage")!
        .dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
    }, bytes);
    await page
      .locator("#status")
      .filter({ hasText: /^dropped\.png: 2 faces in/ })
      .waitFor();
    expectQuiet();
  });

  test("a broken one is reported, and the next one works", async () => {
    const page = await open();
    await page.setInputFiles("#photo-file", dataFile("broken.jpg"));
    await page
      .getByRole("alert")
      .filter({ hasText: "broken.jpg is not a picture that this browser can read." })
      .waitFor();
    await shoot(page, "broken");
    await openPhoto(page, "portrait.jpg");
    expect(await page.getByRole("alert").isHidden()).toBe(true);
    expectQuiet();
  });
});

/** The face of several moments of a playing source. */
async function follow(page: Page, moments: number): Promise<FaceRecord[]> {
  const faces: FaceRecord[] = [];
  while (faces.length < moments) {
    const saved = await savedFaces(page);
    expect(saved.faces).toHaveLength(1);
    faces.push(saved.faces[0]);
    await page.waitForTimeout(300);
  }
  return faces;
}

function expectOneMovingFace(faces: FaceRecord[]): void {
  expect(new Set(faces.map(({ id }) => id))).toEqual(new Set([0]));
  const tips = faces.map(({ landmarks }) => landmarks[30]);
  expect(Math.max(...tips.map(([x]) => x)) - Math.min(...tips.map(([x]) => x))).toBeGreaterThan(10);
  for (const { confidence, landmarks } of faces) {
    expect(confidence).toBeGreaterThan(0.9);
    expect(landmarks).toHaveLength(68);
  }
}

describe("the camera", () => {
  test("a face is followed, with its number and the speed; it can be paused and stopped", async () => {
    const page = await open({ permissions: ["camera"] });
    await page.getByRole("button", { name: "Use camera" }).click();
    await page.locator("#status").filter({ hasText: "Camera: 1 face" }).waitFor();
    expectOneMovingFace(await follow(page, 5));
    await page
      .locator("#speed")
      .filter({ hasText: /^\d+\.\d ms · \d+ frames\/s$/ })
      .waitFor();
    await shoot(page, "camera");
    await page.getByRole("button", { name: "Pause" }).click();
    const still = await savedFaces(page);
    await page.waitForTimeout(500);
    expect((await savedFaces(page)).faces).toEqual(still.faces);
    await page.getByRole("button", { name: "Resume" }).click();
    await page.waitForTimeout(1000);
    expect((await savedFaces(page)).faces).not.toEqual(still.faces);
    await page.getByRole("button", { name: "Stop camera" }).click();
    await page.locator("#status").filter({ hasText: "Stopped." }).waitFor();
    // A photo after it, and the camera again.
    await openPhoto(page, "portrait.jpg");
    await page.getByRole("button", { name: "Use camera" }).click();
    await page.locator("#status").filter({ hasText: "Camera: 1 face" }).waitFor();
    expectQuiet();
  });

  test("the whole face is followed", async () => {
    const page = await open({ permissions: ["camera"] });
    await page.getByLabel("Whole face").check();
    await page.getByRole("button", { name: "Use camera" }).click();
    await page.locator("#status").filter({ hasText: "Camera: 1 face" }).waitFor();
    const faces = await follow(page, 3);
    for (const { p, matrix, residual } of faces) {
      expect(p).toHaveLength(234);
      expect(matrix).toHaveLength(4);
      expect(residual).toBeLessThan(5);
    }
    await shoot(page, "camera_whole_face");
    expectQuiet();
  });

  test("the detector for small faces", async () => {
    const page = await open({ permissions: ["camera"] });
    await page.getByLabel("Search small faces").check();
    await page.getByRole("button", { name: "Use camera" }).click();
    await page.locator("#status").filter({ hasText: "Camera: 1 face" }).waitFor();
    expectQuiet();
  });

  test("without permission", async () => {
    const page = await open();
    await page.getByRole("button", { name: "Use camera" }).click();
    await page.getByRole("alert").filter({ hasText: "The camera was not permitted." }).waitFor();
    await shoot(page, "not_permitted");
    expectQuiet();
  });

  test("without a camera", async () => {
    const without = await launch();
    try {
      const page = await open({ permissions: ["camera"] }, without);
      await page.getByRole("button", { name: "Use camera" }).click();
      await page.getByRole("alert").filter({ hasText: "No camera was found." }).waitFor();
      expectQuiet();
    } finally {
      await without.close();
    }
  });
});

describe("a video", () => {
  test("its face is followed over the end of the video", async () => {
    const page = await open();
    await page.setInputFiles("#video-file", dataFile("video.webm"));
    await page.locator("#status").filter({ hasText: "video.webm: 1 face" }).waitFor();
    await shoot(page, "video");
    // The video takes two seconds and then starts again, where faces are numbered from 0.
    expectOneMovingFace(await follow(page, 9));
    // Another one, of another size.
    await page.setInputFiles("#video-file", dataFile("wide.webm"));
    await page.locator("#status").filter({ hasText: "wide.webm: 1 face" }).waitFor();
    expect((await savedFaces(page)).width).toBe(640);
    expectQuiet();
  });

  test("a file that is no video is reported", async () => {
    const page = await open();
    await page.setInputFiles("#video-file", dataFile("broken.jpg"));
    await page
      .getByRole("alert")
      .filter({ hasText: "broken.jpg cannot be played by this browser." })
      .waitFor();
    expect(await page.locator("#pause").isHidden()).toBe(true);
    await openPhoto(page, "portrait.jpg");
  });
});

test("the page takes less than 6 MB compressed, so that it can lie in the Python wheel", () => {
  const files = readdirSync(PAGE, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const sizes = files.map(({ parentPath, name }) => gzipSync(readFileSync(resolve(parentPath, name))).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  expect(total).toBeGreaterThan(3e6);
  expect(total).toBeLessThan(6e6);
});

describe("what the page needs", () => {
  test("no WebAssembly SIMD", async () => {
    // The check of SIMD validates a small module.
    const prepare = (page: Page) => page.addInitScript("WebAssembly.validate = () => false");
    const { page } = await visitWith(prepare);
    await page.getByRole("alert").filter({ hasText: "This browser has no WebAssembly SIMD" }).waitFor();
    expect(await page.locator("#status").textContent()).toBe("Not available.");
    await shoot(page, "no_simd");
    // Everything else reports that the model is missing.
    await page.click("#example");
    await page.getByRole("alert").filter({ hasText: "The model is not loaded" }).waitFor();
    expectQuiet();
  });

  test.each([
    ["model", "**/*_web.tflite", `${MODEL}_web.tflite could not be loaded: HTTP status 404`],
    ["runtime", "**/wasm/*.js", "The WebAssembly runtime could not be loaded from"],
    ["list of models", "**/models.json", "The list of models could not be loaded: HTTP status 404"],
  ])("a missing %s is named", async (_, files, message) => {
    const prepare = (page: Page) => page.route(files, (route) => route.fulfill({ status: 404 }));
    const { page } = await visitWith(prepare);
    await page.getByRole("alert").filter({ hasText: message }).waitFor();
  });

  test("no other host can be asked, even by a fault in the code", async () => {
    const page = await open();
    const blocked = await page.evaluate(async () => {
      const violation = new Promise<string>((resolve) =>
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI), {
          once: true,
        }),
      );
      const failed = await fetch("https://example.org/").then(
        () => false,
        () => true,
      );
      return [failed, await violation];
    });
    expect(blocked).toEqual([true, "https://example.org/"]);
    // The policy acts before the network.
    expect(visits[0].others).toEqual([]);
  });
});

describe("for everybody", () => {
  test.each(["light", "dark"] as const)("no accessibility faults, %s", async (colorScheme) => {
    const page = await open({ colorScheme });
    await openPhoto(page, "portrait.jpg");
    await shoot(page, colorScheme);
    // The page's policy forbids scripts in tags; the debugger may still run one.
    await page.evaluate(axe.source);
    const faults = await page.evaluate(async () => {
      const { violations } = await (globalThis as unknown as { axe: typeof axe }).axe.run();
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    });
    expect(faults).toEqual([]);
  });

  test("by keyboard", async () => {
    const page = await open();
    const names: string[] = [];
    for (let press = 0; press < 30; press++) {
      await page.keyboard.press("Tab");
      const name = await page.evaluate(() => {
        const focused = document.activeElement as HTMLInputElement;
        return focused.id || focused.value || "";
      });
      if (name === "") break;
      names.push(name);
    }
    const parts = ["points", "contours", "mesh", "axes", "visibility", "box"];
    expect(names).toEqual([
      "photo-file",
      "camera",
      "video-file",
      "example",
      ...parts,
      "model",
      "small-faces",
    ]);
    await page.focus("#example");
    await page.keyboard.press("Enter");
    await page.locator("#status").filter({ hasText: "Example photo: 1 face" }).waitFor();
  });

  test("on a phone", async () => {
    const page = await open({ viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true });
    await openPhoto(page, "two_faces.png");
    await shoot(page, "phone");
    const { scroll, width } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      width: document.documentElement.clientWidth,
    }));
    expect(scroll).toBeLessThanOrEqual(width);
    for (const button of await page.locator("button:visible, .button").all()) {
      expect((await button.boundingBox())!.height).toBeGreaterThanOrEqual(44);
    }
  });
});
