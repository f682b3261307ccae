/** The page: photos, camera and videos, with faces drawn on a canvas. */

import { Aligner, drawFaces, faceRecord, InputError, isConvincing, Tracker, VERSION } from "../src/index.js";
import type { Face, Part } from "../src/index.js";
import { decodePhoto, MAX_SIDE } from "../src/image.js";
import { CONSTANTS } from "../src/constants.js";

const ASSETS = new URL("assets/", document.baseURI);
/** Frames over which the shown speed is averaged. */
const SPEED_FRAMES = 30;
/** Milliseconds between two updates of the texts beside a video: faster ones cannot be read. */
const TEXT_INTERVAL = 100;
/** A point counts as visible above this value. */
const VISIBLE = 0.5;

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const canvas = element<HTMLCanvasElement>("canvas");
const context = canvas.getContext("2d")!;
const stage = element("stage");
const message = element("message");
const status = element("status");
const speed = element("speed");
const cameraButton = element<HTMLButtonElement>("camera");
const pauseButton = element<HTMLButtonElement>("pause");
const modelPicker = element<HTMLSelectElement>("model");
const smallFaces = element<HTMLInputElement>("small-faces");
const saveButtons = [element<HTMLButtonElement>("save-json"), element<HTMLButtonElement>("save-png")];

let aligner: Aligner | null = null;
/** What is shown now: a photo, or a camera or video that delivers frames. */
let source: Source | null = null;
let faces: Face[] = [];

/** A picture or video on the canvas. */
interface Source {
  name: string;
  /** Draws it again, after a change of the settings; with `search`, its faces are found again. */
  refresh(search: boolean): Promise<void>;
  stop(): void;
}

// Messages -----------------------------------------------------------------------------------

function showError(error: unknown): void {
  if (error instanceof InputError) {
    message.textContent = error.message;
  } else {
    message.textContent = `Something unexpected failed: ${error instanceof Error ? error.message : String(error)}`;
    console.error(error);
  }
  message.hidden = false;
}

function clearError(): void {
  message.hidden = true;
  message.textContent = "";
}

/** Shows an error of a task that the user started. */
async function attempt(task: () => Promise<void>): Promise<void> {
  clearError();
  try {
    await task();
  } catch (error) {
    showError(error);
  }
}

// Drawing ------------------------------------------------------------------------------------

function chosenParts(): Part[] {
  const boxes = document.querySelectorAll<HTMLInputElement>('input[name="part"]:checked');
  return ["ids", ...Array.from(boxes, (box) => box.value as Part)];
}

/** Whether the whole face is fitted. */
function wantsMesh(): boolean {
  return chosenParts().includes("mesh");
}

function draw(picture: CanvasImageSource | ImageData, width: number, height: number): void {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  if (picture instanceof ImageData) {
    context.putImageData(picture, 0, 0);
  } else {
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(picture, 0, 0, width, height);
  }
  drawFaces(context, faces, chosenParts());
  canvas.hidden = false;
  element("placeholder").hidden = true;
  stage.classList.add("filled");
}

function plural(count: number, noun: string): string {
  return `${count === 0 ? "No" : count} ${noun}${count === 1 ? "" : "s"}`;
}

function percent(value: number | null): string {
  return value === null ? "–" : `${Math.round(100 * value)} %`;
}

/** Fills the table of faces and enables saving. */
function showFaces(): void {
  const rows = faces.map((face, index) => {
    const row = document.createElement("tr");
    const seen = face.visibility?.filter((value) => value > VISIBLE).length;
    const { yaw, pitch, roll } = face.pose;
    const cells = [
      String(face.id ?? index + 1),
      percent(face.confidence),
      seen === undefined ? "–" : `${seen}/${face.landmarks.length}`,
      ...[yaw, pitch, roll].map((angle) => `${Math.round(angle)}°`),
    ];
    for (const text of cells) row.append(Object.assign(document.createElement("td"), { textContent: text }));
    return row;
  });
  element("faces").replaceChildren(...rows);
  canvas.setAttribute("aria-label", `${source?.name ?? "Picture"}: ${plural(faces.length, "face")}`);
  for (const button of saveButtons) button.disabled = false;
}

// Sources ------------------------------------------------------------------------------------

function start(next: Source): void {
  source?.stop();
  source = next;
  faces = [];
}

function requireAligner(): Aligner {
  if (!aligner) throw new InputError("The model is not loaded yet. Try again in a moment.");
  return aligner;
}

async function openPhoto(file: Blob, name: string): Promise<void> {
  requireAligner();
  const bitmap = await decodePhoto(file);
  const reduction = Math.max(1, Math.max(bitmap.width, bitmap.height) / MAX_SIDE);
  const width = Math.round(bitmap.width / reduction);
  const height = Math.round(bitmap.height / reduction);
  let shown = bitmap;
  if (reduction > 1) {
    shown = await createImageBitmap(bitmap, {
      resizeWidth: width,
      resizeHeight: height,
      resizeQuality: "high",
    });
    bitmap.close();
  }
  const photo: Source = {
    name,
    async refresh(search) {
      if (search) {
        const before = performance.now();
        const found = await requireAligner().align(shown, { mesh: wantsMesh() });
        if (source !== photo) return;
        faces = found.filter((face) => isConvincing(face));
        const took = performance.now() - before;
        status.textContent = `${name}: ${plural(faces.length, "face")} in ${took.toFixed(0)} ms`;
        showFaces();
      } else if (wantsMesh() && faces.some(({ mesh }) => !mesh)) {
        const fitted = await requireAligner().withMeshes(faces, height);
        if (source !== photo) return;
        faces = fitted;
        showFaces();
      }
      draw(shown, width, height);
    },
    stop: () => shown.close(),
  };
  start(photo);
  showVideoControls(false);
  status.textContent = `Searching ${name} …`;
  draw(shown, width, height);
  await photo.refresh(true);
}

/** Follows the faces of a playing video element. */
class Player implements Source {
  private readonly tracker: Tracker;
  private stopped = false;
  private lastTime = -Infinity;
  private drawn: ImageData | null = null;
  private readonly times: number[] = [];
  private readonly work: number[] = [];
  private announced = -1;
  private describedAt = -Infinity;

  constructor(
    readonly name: string,
    private readonly video: HTMLVideoElement,
    private readonly release: () => void,
  ) {
    this.tracker = new Tracker(requireAligner(), { detector: smallFaces.checked ? "full" : "short" });
  }

  async run(): Promise<void> {
    await requireAligner().loadDetector(smallFaces.checked ? "full" : "short");
    let next = this.nextFrame();
    while (!this.stopped) {
      const time = await next;
      if (this.stopped) break;
      // Asked for before the work on this one, so that a frame that comes meanwhile is not missed.
      next = this.nextFrame();
      await this.show(time);
    }
  }

  /** Waits for the next frame; returns its time in seconds. */
  private nextFrame(): Promise<number> {
    const { video } = this;
    return new Promise((resolve) => {
      if ("requestVideoFrameCallback" in video) {
        video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime));
      } else {
        requestAnimationFrame(() => resolve((video as HTMLVideoElement).currentTime));
      }
    });
  }

  private async show(time: number): Promise<void> {
    if (time === this.lastTime) return;
    // A video that starts again or is moved back.
    if (time < this.lastTime) this.tracker.reset();
    this.lastTime = time;
    const before = performance.now();
    // Pixels are read once, and are what is searched and shown.
    const { pixels } = await requireAligner().read(this.video);
    this.tracker.mesh = wantsMesh();
    const found = await this.tracker.update(pixels, time);
    if (this.stopped) return;
    faces = found;
    this.drawn = pixels;
    draw(pixels, pixels.width, pixels.height);
    this.measure(performance.now() - before);
    const isSoon = performance.now() - this.describedAt < TEXT_INTERVAL;
    if (!isSoon || this.video.paused || faces.length !== this.announced) this.describe();
  }

  /** Writes what is drawn beside the picture. */
  private describe(): void {
    this.describedAt = performance.now();
    showFaces();
    this.showSpeed();
    if (faces.length !== this.announced) {
      this.announced = faces.length;
      status.textContent = `${this.name}: ${plural(faces.length, "face")}`;
    }
  }

  private measure(milliseconds: number): void {
    this.work.push(milliseconds);
    this.times.push(performance.now());
    if (this.times.length > SPEED_FRAMES) {
      this.times.shift();
      this.work.shift();
    }
  }

  private showSpeed(): void {
    if (this.times.length < 2) return;
    const rate = (1000 * (this.times.length - 1)) / (this.times.at(-1)! - this.times[0]);
    const mean = this.work.reduce((sum, value) => sum + value, 0) / this.work.length;
    speed.textContent = `${mean.toFixed(1)} ms · ${rate.toFixed(0)} frames/s`;
    speed.hidden = false;
  }

  async refresh(): Promise<void> {
    if (this.drawn) draw(this.drawn, this.drawn.width, this.drawn.height);
  }

  pause(paused: boolean): void {
    if (paused) {
      this.video.pause();
      this.describe();
    } else {
      void this.video.play();
    }
  }

  stop(): void {
    this.stopped = true;
    this.video.pause();
    this.release();
  }
}

function showVideoControls(shown: boolean): void {
  pauseButton.hidden = !shown;
  pauseButton.setAttribute("aria-pressed", "false");
  pauseButton.textContent = "Pause";
  if (!shown) speed.hidden = true;
}

function videoElement(): HTMLVideoElement {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  return video;
}

async function play(name: string, video: HTMLVideoElement, release: () => void): Promise<void> {
  try {
    await video.play();
  } catch (error) {
    release();
    throw new InputError(
      `${name} cannot be played by this browser. Use a WebM (VP8, VP9 or AV1) or MP4 (H.264) file.`,
      { cause: error },
    );
  }
  const player = new Player(name, video, release);
  start(player);
  showVideoControls(true);
  status.textContent = `${name}: playing`;
  player.run().catch((error) => {
    // A source that was stopped may lose its model in the middle of a frame.
    if (source !== player) return;
    stopPlaying();
    showError(error);
  });
}

async function openVideo(file: File): Promise<void> {
  requireAligner();
  const video = videoElement();
  const url = URL.createObjectURL(file);
  video.loop = true;
  video.src = url;
  await play(file.name, video, () => {
    video.removeAttribute("src");
    URL.revokeObjectURL(url);
  });
}

const CAMERA_ERRORS: Record<string, string> = {
  NotAllowedError:
    "The camera was not permitted. Allow it in the browser's settings for this page, then press “Use camera” again.",
  NotFoundError: "No camera was found. Connect one, then press “Use camera” again.",
  NotReadableError: "The camera is used by another program. Close it there, then press “Use camera” again.",
  OverconstrainedError: "The camera offers no picture of a usable size.",
};

async function openCamera(): Promise<void> {
  requireAligner();
  // Undefined in a page that is neither local nor served over HTTPS.
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new InputError(
      "The camera needs a secure page: open it over HTTPS, or from 127.0.0.1 on this computer.",
    );
  }
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" },
    });
  } catch (error) {
    const { name, message } = error as DOMException;
    throw new InputError(CAMERA_ERRORS[name] ?? `The camera could not be started: ${message || name}`, {
      cause: error,
    });
  }
  const video = videoElement();
  video.srcObject = stream;
  const release = () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
    cameraButton.setAttribute("aria-pressed", "false");
    cameraButton.textContent = "Use camera";
  };
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    if (source instanceof Player) stopPlaying();
    showError(new InputError("The camera was disconnected."));
  });
  await play("Camera", video, release);
  cameraButton.setAttribute("aria-pressed", "true");
  cameraButton.textContent = "Stop camera";
}

function stopPlaying(): void {
  source?.stop();
  source = null;
  showVideoControls(false);
  status.textContent = "Stopped.";
}

function openFile(file: File): Promise<void> {
  return file.type.startsWith("video/") ? openVideo(file) : openPhoto(file, file.name);
}

// Controls -----------------------------------------------------------------------------------

function onFile(id: string, open: (file: File) => Promise<void>): void {
  const input = element<HTMLInputElement>(id);
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    // So that the same file can be chosen again.
    if (file) void attempt(() => open(file)).finally(() => (input.value = ""));
  });
}

onFile("photo-file", (file) => openPhoto(file, file.name));
onFile("video-file", openVideo);

cameraButton.addEventListener("click", () => {
  if (cameraButton.getAttribute("aria-pressed") === "true") stopPlaying();
  else void attempt(openCamera);
});

element("example").addEventListener("click", () => {
  void attempt(async () => {
    const response = await fetch("example.jpg");
    if (!response.ok)
      throw new InputError(`The example photo could not be loaded: HTTP status ${response.status}`);
    await openPhoto(await response.blob(), "Example photo");
  });
});

pauseButton.addEventListener("click", () => {
  const paused = pauseButton.getAttribute("aria-pressed") !== "true";
  pauseButton.setAttribute("aria-pressed", String(paused));
  pauseButton.textContent = paused ? "Resume" : "Pause";
  if (source instanceof Player) source.pause(paused);
});

for (const box of document.querySelectorAll('input[name="part"]')) {
  box.addEventListener("change", () => void attempt(async () => source?.refresh(false)));
}

smallFaces.addEventListener("change", () => {
  if (source instanceof Player) {
    status.textContent = "This setting applies from the next video or camera start.";
  }
});

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    stage.classList.add("dragged");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, () => stage.classList.remove("dragged"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  if (file) void attempt(() => openFile(file));
});

// Saving -------------------------------------------------------------------------------------

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

saveButtons[0].addEventListener("click", () => {
  const record = {
    source: source?.name ?? null,
    model: modelPicker.value,
    version: VERSION,
    width: canvas.width,
    height: canvas.height,
    faces: faces.map(faceRecord),
  };
  save(new Blob([`${JSON.stringify(record, null, 1)}\n`], { type: "application/json" }), "faces.json");
});

saveButtons[1].addEventListener("click", () => {
  canvas.toBlob((blob) => {
    if (blob) save(blob, "faces.png");
    else showError(new InputError("The picture could not be saved: this browser gave no PNG."));
  }, "image/png");
});

// Models -------------------------------------------------------------------------------------

async function fillModelPicker(): Promise<void> {
  const response = await fetch(new URL("models.json", ASSETS));
  if (!response.ok)
    throw new InputError(`The list of models could not be loaded: HTTP status ${response.status}`);
  const models = (await response.json()) as { name: string; bytes: number }[];
  for (const { name, bytes } of models) {
    const isDefault = name === CONSTANTS.defaultModel;
    modelPicker.add(new Option(`${name} (${(bytes / 1e6).toFixed(2)} MB)`, name, isDefault, isDefault));
  }
}

async function loadModel(): Promise<void> {
  status.textContent = "Loading the model …";
  const next = await Aligner.create({ assets: ASSETS, model: modelPicker.value });
  const last = aligner;
  aligner = next;
  // Loaded before they are needed; a failure is reported when they are.
  for (const kind of ["full", "short"] as const) next.loadDetector(kind).catch(() => undefined);
  if (source instanceof Player) {
    stopPlaying();
    status.textContent = `${modelPicker.value} is loaded. Start the camera or video again.`;
  } else {
    status.textContent = `${modelPicker.value} is loaded.`;
    await source?.refresh(true);
  }
  last?.close();
}

modelPicker.addEventListener("change", () => void attempt(loadModel));

void attempt(async () => {
  try {
    await fillModelPicker();
    await loadModel();
    status.textContent = "Ready.";
  } catch (error) {
    status.textContent = "Not available.";
    throw error;
  }
});
