// Markdown without HTML of its own, with mathematics; what comes out goes through the sanitiser.
import MarkdownIt from "markdown-it";
import { tex } from "@mdit/plugin-tex";
import createDOMPurify from "dompurify";

export { MarkdownIt, tex };
export const purifier = createDOMPurify(window);
