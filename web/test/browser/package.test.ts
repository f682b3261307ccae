/** The npm package, packed and installed in another project, gives the landmarks of the Python package. */

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type * as Library from "../../src/index.js";
import { DATA, dataFile, expected, largestDifference } from "../data.js";
import { launch, serve, visit } from "./chromium.js";
import type { Server, Visit } from "./chromium.js";

const WEB = resolve(import.meta.dirname, "../..");
const PHOTOS = readdirSync(DATA).filter((name) => /\.(png|jpg)$/.test(name));
const MODULE = "/node_modules/tf-dhm/dist/index.js";
/** Most compressed bytes of the package. */
const LARGEST_PACKAGE = 6e6;

let project: string;
let server: Server;
let browser: Browser;
let visited: Visit;

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { cwd: project, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), "tf-dhm-package-"));
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", project], {
    cwd: WEB,
    encoding: "utf8",
  });
  const [{ filename }] = JSON.parse(packed.slice(packed.indexOf("[\n")));
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ name: "consumer", private: true, type: "module" }),
  );
  run("npm", "install", "--offline", "--no-audit", "--no-fund", `./${filename}`);
  expect(statSync(join(project, filename)).size).toBeLessThan(LARGEST_PACKAGE);
  copyFileSync(join(project, "node_modules/tf-dhm/example/index.html"), join(project, "index.html"));
  for (const photo of PHOTOS) copyFileSync(dataFile(photo), join(project, photo));
  server = await serve(project);
  browser = await launch();
  visited = await visit(browser, server.url);
  await loadLibrary();
}, 180_000);

/** Largest differences of landmarks, in pixels, printed at the end. */
const measured: string[] = [];

/** The largest difference of landmarks in pixels; notes it for the report. */
function difference(name: string, found: Library.Face, truth: Library.Face): number {
  const pixels = largestDifference(found.landmarks, truth.landmarks);
  measured.push(`${name}: ${pixels.toFixed(4)} px`);
  return pixels;
}

afterAll(async () => {
  console.log(`Largest differences to Python:\n${measured.join("\n")}`);
  await browser?.close();
  await server?.close();
  if (project) rmSync(project, { recursive: true, force: true });
});

test("it depends on nothing and names the licences of what it contains", () => {
  const folder = join(project, "node_modules/tf-dhm");
  const { dependencies, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  expect(dependencies).toBeUndefined();
  const constants = JSON.parse(readFileSync(join(WEB, "src/constants.json"), "utf8"));
  expect(version).toBe(constants.version);
  const notices = readFileSync(join(folder, "dist/THIRD_PARTY.txt"), "utf8");
  for (const name of ["@litertjs/core", "ml-matrix", "linear-sum-assignment", "wasm-feature-detect"]) {
    expect(notices).toContain(`Name: ${name}\n`);
  }
  for (const name of ["README.md", "LICENSE", "dist/assets/FACE_DETECTION.md"]) {
    expect(existsSync(join(folder, name)), name).toBe(true);
  }
});

test("its types serve a TypeScript project", () => {
  writeFileSync(
    join(project, "consumer.ts"),
    `import { Aligner, Tracker, type Face } from "tf-dhm";
     export async function first(video: HTMLVideoElement): Promise<Face | undefined> {
       const aligner = await Aligner.create({ model: "fast_dhm_m" });
       const tracker = new Tracker(aligner, { config: { smooth: false } });
       return (await tracker.update(video, 0))[0] ?? (await aligner.align(video))[0];
     }
     // @ts-expect-error: a number is no picture.
     void new Tracker(await Aligner.create()).update(1, 0);\n`,
  );
  const tsc = join(WEB, "node_modules/typescript/bin/tsc");
  const compilerOptions = { noEmit: true, strict: true, module: "esnext", moduleResolution: "bundler" };
  const more = { target: "es2022", lib: ["es2022", "dom"], types: [] };
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { ...compilerOptions, ...more }, files: ["consumer.ts"] }),
  );
  expect(run("node", tsc)).toBe("");
}, 60_000);

/** Makes the module a global variable of the page. */
async function loadLibrary(): Promise<void> {
  const content = `import * as library from "${MODULE}"; window.library = library;`;
  await visited.page.addScriptTag({ type: "module", content });
  await visited.page.waitForFunction("window.library");
}

declare const library: typeof Library;

/** Runs in the page: the faces of a photo. */
async function alignInPage(
  photo: string,
  options: Library.AlignOptions & { model: string },
): Promise<Library.Face[]> {
  return visited.page.evaluate(
    async ([photo, { model, ...rest }]) => {
      const aligner = await library.Aligner.create({ model });
      const response = await fetch(photo);
      const faces = await aligner.align(await response.blob(), rest);
      aligner.close();
      return faces;
    },
    [photo, options] as const,
  );
}

describe.each(Object.keys(expected.photos))("%s", (model) => {
  test.each(["portrait.jpg", "two_faces.png"])("%s in given boxes", async (photo) => {
    const { boxes, one_pass, two_passes } = expected.photos[model][photo];
    for (const [passes, truth] of [
      [1, one_pass],
      [2, two_passes],
    ] as const) {
      const faces = await alignInPage(photo, { model, boxes, passes });
      expect(faces).toHaveLength(truth.length);
      faces.forEach((face, index) => {
        const name = `${model}, ${photo}, box given, face ${index + 1}, passes ${passes}`;
        expect(difference(name, face, truth[index])).toBeLessThan(0.1);
        expect(largestDifference(face.visibility, truth[index].visibility)).toBeLessThan(0.01);
        expect(largestDifference(face.confidence, truth[index].confidence)).toBeLessThan(0.01);
        const { pitch, yaw, roll } = face.pose;
        const pose = truth[index].pose;
        expect(largestDifference([pitch, yaw, roll], [pose.pitch, pose.yaw, pose.roll])).toBeLessThan(0.2);
        expect(face.score).toBeNull();
      });
    }
  });

  test.each([
    ["portrait.jpg", 1],
    ["two_faces.png", 2],
    ["upside_down.png", 1],
    ["no_face.png", 0],
  ])("%s with detection", async (photo, count) => {
    const { detected } = expected.photos[model][photo];
    const faces = await alignInPage(photo, { model });
    expect(faces).toHaveLength(count);
    expect(detected).toHaveLength(count);
    faces.forEach((face, index) => {
      const name = `${model}, ${photo}, detected, face ${index + 1}`;
      expect(difference(name, face, detected[index])).toBeLessThan(1);
      expect(largestDifference(face.box, detected[index].box)).toBeLessThan(1);
      expect(largestDifference(face.score, detected[index].score)).toBeLessThan(0.02);
    });
  });
});

const [DEFAULT_MODEL] = Object.keys(expected.photos);

describe("the search", () => {
  test.each<[string, Library.AlignOptions, number]>(
    expected.finding.map(({ photo, options }: any, index: number) => [photo, options, index]),
  )(
    "%s, %j",
    async (photo, options, index) => {
      const truth = expected.finding[index].faces;
      const faces = await alignInPage(photo, { model: DEFAULT_MODEL, ...options });
      expect(faces).toHaveLength(truth.length);
      faces.forEach((face, row) => {
        const name = `${photo}, ${JSON.stringify(options)}, face ${row + 1}`;
        // One pixel, or half a percent of a face of more than 200 pixels: the detector sees 128 or 256 of a photo.
        const [left, top, right, bottom] = truth[row].box;
        const limit = Math.max(1, 0.005 * Math.max(right - left, bottom - top));
        expect(difference(name, face, truth[row])).toBeLessThan(limit);
        expect(largestDifference(face.box, truth[row].box)).toBeLessThan(limit);
        expect(largestDifference(face.score, truth[row].score)).toBeLessThan(0.02);
        expect(Boolean(face.mesh)).toBe(Boolean(options.mesh));
        if (!face.mesh) return;
        const fit = truth[row].mesh;
        // Typed arrays leave the page as objects.
        expect(largestDifference(Object.values(face.mesh.vertices), fit.vertices)).toBeLessThan(0.1);
        expect(largestDifference(Object.values(face.mesh.p).slice(0, 4), fit.p.slice(0, 4))).toBeLessThan(
          0.01,
        );
        expect(largestDifference(face.mesh.matrix, fit.matrix)).toBeLessThan(0.01);
        expect(largestDifference(face.mesh.expression.jawOpen, fit.expression.jawOpen)).toBeLessThan(0.01);
        expect(face.pose).toEqual(face.mesh.pose);
      });
    },
    60_000,
  );

  test("the photos need all of it", () => {
    const counts = Object.fromEntries(
      expected.finding.map(({ photo, options, faces }: any) => [
        photo + JSON.stringify(options),
        faces.length,
      ]),
    );
    expect(counts["crowd.png{}"]).toBeGreaterThan(counts['crowd.png{"tiles":false}']);
    for (const photo of ["twice.png", "doubtful.png", "last_look.png"]) expect(counts[`${photo}{}`]).toBe(1);
  });
});

test("elements, pixels and reduced pictures are read alike", async () => {
  const [photo, model] = ["portrait.jpg", DEFAULT_MODEL];
  const results = await visited.page.evaluate(
    async ([photo, model]) => {
      const aligner = await library.Aligner.create({ model });
      const image = new Image();
      image.src = photo;
      await image.decode();
      const canvas = document.createElement("canvas");
      const large = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.width, image.height];
      const context = canvas.getContext("2d")!;
      context.drawImage(image, 0, 0);
      // More than MAX_SIDE pixels wide.
      [large.width, large.height] = [10 * image.width, 10 * image.height];
      large.getContext("2d")!.drawImage(image, 0, 0, large.width, large.height);
      const inputs = [
        image,
        canvas,
        await createImageBitmap(image),
        context.getImageData(0, 0, image.width, image.height),
      ];
      const all = [];
      for (const input of inputs) all.push((await aligner.align(input))[0].landmarks);
      const reduced = (await aligner.align(large))[0].landmarks;
      all.push(reduced.map(([x, y, z]) => [(x + 0.5) / 10 - 0.5, (y + 0.5) / 10 - 0.5, z / 10]));
      aligner.close();
      return all;
    },
    [photo, model] as const,
  );
  const [truth] = expected.photos[model][photo].detected;
  for (const landmarks of results) expect(largestDifference(landmarks, truth.landmarks)).toBeLessThan(1);
}, 60_000);

test.each([
  ["boxes: [[0, 0, 0, 5]]", "portrait.jpg", { boxes: [[0, 0, 0, 5]] }, "expected finite x0 < x1"],
  ["boxes outside", "portrait.jpg", { boxes: [[900, 0, 990, 50]] }, "inside the picture of 512 x 512 pixels"],
  ["passes: 4", "portrait.jpg", { passes: 4 }, "passes: found 4, expected 1 to 3"],
  ["detector: near", "portrait.jpg", { detector: "near" as "short" }, 'detector: found "near"'],
  ["maxFaces: 0", "portrait.jpg", { maxFaces: 0 }, "maxFaces: found 0, expected 1 or more"],
  ["minConfidence: 2", "portrait.jpg", { minConfidence: 2 }, "minConfidence: found 2, expected 0 to 1"],
  ["a broken photo", "broken.jpg", {}, "is not a picture that this browser can read"],
  [
    "a missing model",
    "portrait.jpg",
    { model: "none" },
    "none_web.tflite could not be loaded: HTTP status 404",
  ],
  [
    "a file that is no model",
    "portrait.jpg",
    { model: "./portrait.jpg" },
    "bytes that are not a TFLite file",
  ],
])("error of %s", async (_, photo, options, message) => {
  await expect(alignInPage(photo, { model: DEFAULT_MODEL, ...options })).rejects.toThrow(message);
  visited.errors.length = 0; // A browser logs a missing file.
});

test("the example page works", async () => {
  const { page } = visited;
  await page.reload();
  // The module is loaded, and with it what listens to the input.
  await page.waitForLoadState("networkidle");
  await page.setInputFiles("input", dataFile("portrait.jpg"));
  await page.getByText("1 faces found.").waitFor();
  expect(await page.locator("canvas").evaluate((canvas: HTMLCanvasElement) => canvas.width)).toBe(512);
});

test("no error was logged and no other host was asked", () => {
  expect(visited.errors).toEqual([]);
  expect(visited.others).toEqual([]);
});
