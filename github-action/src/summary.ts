// The job summary: what was granted and by what, and what was denied.
import * as core from "@actions/core";
import type { Credential } from "./credential.ts";
import type { Refused } from "./refusal.ts";
import { html, plain } from "./text.ts";

export interface Denied {
  credential: string;
  refused: Refused;
}

export async function summarize(granted: Credential[], denied: Denied[]): Promise<void> {
  if (!process.env["GITHUB_STEP_SUMMARY"] || granted.length + denied.length === 0) {
    return;
  }
  await core.summary.addRaw(page(granted, denied), true).write();
}

export function page(granted: Credential[], denied: Denied[]): string {
  const parts = ["<h3>hallpass</h3>"];
  if (granted.length > 0) {
    const head = row("th", ["Credential", "Kind", "Policy", "Policies revision", "Until"]);
    const rows = granted.map((one) =>
      row("td", [one.name, one.kind, one.policy, one.revision, one.expiresAt]),
    );
    parts.push(`<table>${head}${rows.join("")}</table>`);
  }
  for (const { credential, refused } of denied) {
    parts.push(`<p>Denied: <code>${html(plain(credential))}</code></p>`);
    parts.push(`<pre>${html(refused.text)}</pre>`);
  }
  return parts.join("\n");
}

function row(tag: string, cells: string[]): string {
  return `<tr>${cells.map((cell) => `<${tag}>${html(plain(cell))}</${tag}>`).join("")}</tr>`;
}
