// What is being installed, with a bar that moves.
import { request } from "../../lib/api.js";
import { complain } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";
import { bytes, seconds } from "../../lib/format.js";

const PHASES = { queued: "Waits for its turn", resolving: "Looks for its files", downloading: "Downloading", verifying: "Verifying", completed: "Installed", running: "Begins" };

export function makeJobs() {
  const list = h("ul", { class: "jobs" });
  const element = h("section", { "aria-labelledby": "jobs-title", hidden: true }, h("h2", { id: "jobs-title" }, "On their way"), list);
  const known = new Map();
  const dismissed = new Set();
  let hasShown = false;

  function show(jobs) {
    if (!hasShown) for (const job of jobs) if (job.processed && !job.error) dismissed.add(job.uuid); // old news
    hasShown = true;
    const shown = jobs.filter((job) => !job.deletion && !dismissed.has(job.uuid) && !job.cancelled);
    for (const [id, row] of known) {
      if (!shown.some((job) => job.uuid === id)) {
        row.element.remove();
        known.delete(id);
      }
    }
    for (const job of shown) {
      if (!known.has(job.uuid)) {
        known.set(job.uuid, makeJob(job, () => dismissed.add(job.uuid) && show(jobs)));
        list.append(known.get(job.uuid).element);
      }
      known.get(job.uuid).show(job);
    }
    element.hidden = shown.length === 0;
  }
  return { element, show };
}

function makeJob(first, dismiss) {
  const [name, said, bar] = [h("strong"), h("p", { class: "faint number" }), makeBar()];
  const stop = button("Cancel", { icon: "close", bare: true, class: "quiet small" }, () => request(`/models/jobs/${first.uuid}/cancel`, { method: "POST" }).catch(complain));
  const away = button("Dismiss", { icon: "close", bare: true, class: "quiet small" }, dismiss);
  const element = h("li", { class: "job card" }, h("div", { class: "row" }, name, h("span", { class: "grow" }), stop, away), bar.element, said);
  return {
    element,
    show: (job) => {
      name.textContent = job.model || job.gallery_element_name;
      said.textContent = inWords(job);
      said.classList.toggle("bad", Boolean(job.error));
      stop.hidden = job.processed;
      away.hidden = !job.processed;
      bar.show(job);
    },
  };
}

/** A bar that tells how far a job is, in a way that is read out too. */
export function makeBar() {
  const fill = h("div");
  const element = h("div", { class: "progress", role: "progressbar", "aria-label": "Installation", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  return {
    element,
    show: (job) => {
      element.setAttribute("aria-valuenow", String(Math.round(job.progress)));
      element.classList.toggle("bad", Boolean(job.error));
      fill.style.setProperty("width", `${job.progress}%`);
    },
  };
}

export function inWords(job) {
  if (job.error) return job.error;
  if (job.cancelled) return "Cancelled; what has come is kept for another try.";
  if (job.processed) return "Installed.";
  const much = job.total_bytes ? `${bytes(job.current_bytes)} of ${bytes(job.total_bytes)}` : job.current_bytes ? bytes(job.current_bytes) : "";
  const speed = job.bytes_per_second ? `${bytes(job.bytes_per_second)}/s` : "";
  const left = job.remaining_seconds !== null && job.total_bytes ? `${seconds(Math.max(1, job.remaining_seconds))} left` : "";
  return [PHASES[job.phase] ?? job.message, much, speed, left].filter(Boolean).join(" · ");
}
