/** Pictures of a web page as pixels. */

import { InputError } from "./errors.js";

/** What faces can be found in. */
export type ImageInput =
  | HTMLImageElement
  | HTMLVideoElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | ImageBitmap
  | ImageData
  | VideoFrame
  | Blob;

/**
 * Longest side in pixels at which a picture is searched; a larger one is reduced first. It bounds the
 * memory of a photo and stays below the limits of canvases.
 */
export const MAX_SIDE = 4096;

/** Pixels of a picture, which may be smaller than the picture itself. */
export interface Picture {
  pixels: ImageData;
  /** Size of the original in pixels. */
  width: number;
  height: number;
}

/** Decodes a picture file, turned as its EXIF orientation says. */
export async function decodePhoto(file: Blob): Promise<ImageBitmap> {
  const name = "name" in file && typeof file.name === "string" && file.name ? file.name : "The file";
  if (file.size === 0) throw new InputError(`${name} is empty.`);
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch (error) {
    throw new InputError(
      `${name} is not a picture that this browser can read. Use a JPEG, PNG, WebP, AVIF or GIF file.`,
      { cause: error },
    );
  }
}

/** Reads the pixels of a picture; keeps one canvas for all of them. */
export class PixelReader {
  private context: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D | null = null;

  async read(image: ImageInput): Promise<Picture> {
    if (image instanceof Blob) {
      const bitmap = await decodePhoto(image);
      try {
        return this.draw(bitmap, bitmap.width, bitmap.height);
      } finally {
        bitmap.close();
      }
    }
    const [width, height] = sizeOf(image);
    if (!(width > 0 && height > 0)) {
      throw new InputError("image: found no pixels, expected a loaded picture or a video that has a frame");
    }
    if (
      typeof ImageData !== "undefined" &&
      image instanceof ImageData &&
      Math.max(width, height) <= MAX_SIDE
    ) {
      return { pixels: image, width, height };
    }
    const source = image instanceof ImageData ? await createImageBitmap(image) : image;
    return this.draw(source, width, height);
  }

  private draw(image: CanvasImageSource, width: number, height: number): Picture {
    const reduction = Math.max(1, Math.max(width, height) / MAX_SIDE);
    const [columns, rows] = [width, height].map((side) => Math.max(1, Math.round(side / reduction)));
    const context = (this.context ??= createContext());
    const { canvas } = context;
    if (canvas.width !== columns || canvas.height !== rows) {
      canvas.width = columns;
      canvas.height = rows;
      context.imageSmoothingQuality = "high";
    }
    // Transparent pixels are laid over white.
    context.fillStyle = "white";
    context.fillRect(0, 0, columns, rows);
    context.drawImage(image, 0, 0, columns, rows);
    try {
      return { pixels: context.getImageData(0, 0, columns, rows), width, height };
    } catch (error) {
      throw new InputError(
        "image: its pixels cannot be read, because it comes from another site that does not allow that",
        { cause: error },
      );
    }
  }
}

function createContext(): CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D {
  const canvas: HTMLCanvasElement | OffscreenCanvas =
    typeof document === "undefined" ? new OffscreenCanvas(1, 1) : document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D | null;
  if (!context) throw new InputError("This browser gives no 2-D canvas, so pictures cannot be read.");
  return context;
}

/** Width and height of a picture in pixels, as shown. */
export function sizeOf(image: Exclude<ImageInput, Blob>): [number, number] {
  if ("naturalWidth" in image) return [image.naturalWidth, image.naturalHeight];
  if ("videoWidth" in image) return [image.videoWidth, image.videoHeight];
  if ("displayWidth" in image) return [image.displayWidth, image.displayHeight];
  return [image.width, image.height];
}
