// Files that somebody has chosen.

/** The files among dropped or pasted things. */
export function filesIn(transfer) {
  return [...(transfer?.files ?? [])];
}

/** Read a file as a data address; throws with words for whoever chose it. */
export function asAddress(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name || "The file"} cannot be read.`));
    reader.readAsDataURL(file);
  });
}
