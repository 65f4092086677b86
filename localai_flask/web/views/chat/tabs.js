// Other tabs of this browser, which show the same conversations: whether one of them has a question in hand.
import { ROOT } from "../../lib/api.js";

const ANSWER_MS = 1500;

const channel = new BroadcastChannel(`localai-flask-chat${ROOT}`);

/** Answer other tabs which questions this one has in hand. */
export function answerTabs(isInHand) {
  channel.addEventListener("message", ({ data }) => {
    if (data.whose !== undefined && isInHand(data.whose)) channel.postMessage({ mine: data.whose });
  });
}

/** Whether another tab has a question in hand. */
export function isInHandElsewhere(id) {
  return new Promise((resolve) => {
    const hear = ({ data }) => data.mine === id && end(true);
    const timer = setTimeout(() => end(false), ANSWER_MS);
    function end(isElsewhere) {
      clearTimeout(timer);
      channel.removeEventListener("message", hear);
      resolve(isElsewhere);
    }
    channel.addEventListener("message", hear);
    channel.postMessage({ whose: id });
  });
}
