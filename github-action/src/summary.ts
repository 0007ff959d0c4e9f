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
      row("td", [one.name, one.kind, one.policy, one.revision, one.expiresAt], one.policyUrl),
    );
    parts.push(`<table>${head}${rows.join("")}</table>`);
  }
  for (const { credential, refused } of denied) {
    parts.push(`<p>Denied: <code>${html(plain(credential))}</code></p>`);
    parts.push(`<pre>${html(refused.text)}</pre>`);
  }
  return parts.join("\n");
}

/** A row of a table, the cell of the policy with a link if there is one. */
function row(tag: string, cells: string[], policyUrl?: string): string {
  const shown = cells.map((cell) => html(plain(cell)));
  if (policyUrl !== undefined) {
    shown[2] = `<a href="${html(policyUrl)}">${shown[2]}</a>`;
  }
  return `<tr>${shown.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
}
