// Images that somebody drops, pastes or picks: as data addresses, no larger than models look at.
import { asAddress } from "../../lib/files.js";

const LARGEST = 1536;
const SMALL_FILE = 400_000;
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/** Whether a file says that it is an image. */
export function isImage(file) {
  return file.type.startsWith("image/") && file.type !== "image/svg+xml"; // which is a text
}

/** Read an image file as a data address; throws with words for whoever chose it. */
export async function readImage(file) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name || "The image"} cannot be read as an image.`);
  });
  const scale = Math.min(1, LARGEST / Math.max(image.width, image.height));
  if (scale === 1 && file.size <= SMALL_FILE && KINDS.includes(file.type)) return asAddress(file);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.88);
}
