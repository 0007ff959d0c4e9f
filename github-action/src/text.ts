// Text from outside, made fit for a log, an annotation or a page.

/** An error whose text is safe to show. */
export class Failure extends Error {}

/** One line of visible characters. Workflow commands in the old form (`##[…]`) lose their meaning. */
export function plain(value: unknown, longest = 500): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  const shown = text
    .slice(0, longest)
    .replace(HIDDEN, (letter) => {
      const code = letter.codePointAt(0) ?? 0;
      return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
    })
    .replaceAll("##[", "## [");
  return text.length > longest ? `${shown}...` : shown;
}

/** Several lines, each as `plain` shows it. */
export function plainLines(text: string): string {
  const lines = text.split(/\r?\n/).slice(0, 100);
  return lines.map((line) => plain(line)).join("\n");
}

/** Text as HTML. */
export function html(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

// Control, format, surrogate, private-use and unassigned characters; line and paragraph separators.
const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;
