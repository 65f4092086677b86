// Text files and PDFs that go along with a question, as they are.
import { asAddress } from "../../lib/files.js";
import { bytes } from "../../lib/format.js";

const LARGEST = 10_000_000; // a request may have 15 MB, and base64 adds a third

/** Read a file as `{name, data}`; throws with words for whoever chose it. */
export async function readDocument(file) {
  const name = file.name || "The file";
  if (file.size > LARGEST) throw new Error(`${name} has ${bytes(file.size)}; ${bytes(LARGEST)} are the most.`);
  const content = new Uint8Array(
    await file.arrayBuffer().catch(() => {
      throw new Error(`${name} cannot be read; of a folder, choose its files.`);
    }),
  );
  if (!content.length) throw new Error(`${name} is empty.`);
  if (!isPdf(content) && !isText(content)) throw new Error(`${name} is neither text nor a PDF nor an image; save it as one of these.`);
  return { name, data: await asAddress(file) };
}

function isPdf(content) {
  return new TextDecoder("latin1").decode(content.subarray(0, 1024)).includes("%PDF-");
}

function isText(content) {
  const [first, second] = content;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) return true; // UTF-16 says so
  try {
    return !new TextDecoder("utf-8", { fatal: true }).decode(content).includes("\0");
  } catch {
    return false;
  }
}
