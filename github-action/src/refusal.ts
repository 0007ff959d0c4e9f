// A refusal of the broker, with the likely fix.
import type { Answer } from "./http.ts";
import { plain, plainLines } from "./text.ts";

/** The broker refused. `lines` are safe to show. */
export class Refused extends Error {
  readonly reason: string;
  readonly lines: string[];
  /** The `when:` block that the job would need. */
  readonly when: string | undefined;

  constructor(answer: Answer) {
    const body = answer.body ?? {};
    const reason = plain(body["reason"] ?? `status ${answer.status}`, 80);
    const sentence = plain(body["error_description"] ?? `${answer.who} gave no reason`);
    super(`${sentence} (${reason})`);
    this.reason = reason;
    this.when = typeof body["when"] === "string" ? plainLines(body["when"]) : undefined;
    this.lines = [this.message];
    const failed = Array.isArray(body["failed_conditions"]) ? body["failed_conditions"] : [];
    for (const one of failed.slice(0, 50) as Record<string, unknown>[]) {
      const hint = one?.["hint"] ? ` (${plain(one["hint"])})` : "";
      const found = one?.["actual"] ?? "absent";
      this.lines.push(
        `policy ${plain(one?.["policy"])}: ${plain(one?.["fact"])} is ${plain(found)}, expected ${plain(one?.["expected"])}${hint}`,
      );
    }
    if (Object.hasOwn(FIXES, reason)) {
      this.lines.push(`likely fix: ${FIXES[reason]}`);
    }
    if (body["request_id"] !== undefined) {
      this.lines.push(`request ID: ${plain(body["request_id"], 80)}`);
    }
  }

  get isDenial(): boolean {
    return this.reason.startsWith("policy.");
  }

  /** All of it, for an annotation. */
  get text(): string {
    const when = this.when === undefined ? [] : ["a policy for this job would have:", this.when];
    return [...this.lines, ...when].join("\n");
  }
}

const ADMINISTRATORS =
  "add a policy for this repository; policy administrators can look up the reason by the request ID";

/** What to do about a reason of docs/reasons.md. */
export const FIXES: Readonly<Record<string, string>> = {
  "policy.trigger":
    "runs of pull requests and other runs that outsiders can start are refused unless a policy names that `trigger`",
  "policy.conditions": "run the job where the conditions hold, or change the policy",
  "policy.requirement": "run the job where the requirement holds, or change it in the policies",
  "policy.credential": "correct the name in the input `credentials`; it is one of the policies' credentials",
  "policy.not_granted": "correct the name in the input `credentials`, or grant it in a policy of this repository",
  "policy.scope": "ask for fewer `scopes`, or grant them in the policy",
  "policy.ttl": "ask for a shorter `ttl`, or raise it in the policy",
  "policy.denied": ADMINISTRATORS,
  "policy.stranger": ADMINISTRATORS,
  "policy.tenant": "add the repository's owner to the `tenants` of the issuer in the policies",
  "token.audience": "the input `broker` must be the broker's setting `issuer`, letter by letter",
  "token.issuer": "the policies must have this CI as an issuer",
  "request.scope": "correct the input `scopes`",
  "request.ttl": "correct the input `ttl`; it has a unit, like `10m`",
  "request.sealed":
    "the input `seal-to` needs a broker that is built with the feature `sealed`; nothing was issued",
  "request.path": "the input `broker` must be the address of the broker's public listener",
  "request.input": "the credential needs an input that this action does not send; use `hallpass get --input`",
};
