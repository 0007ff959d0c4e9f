import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FIXES, Refused } from "../src/refusal.ts";
import { page } from "../src/summary.ts";
import { mask } from "../src/mask.ts";
import { quiet } from "./quiet.ts";

function refused(body: Record<string, unknown>): Refused {
  return new Refused({ who: "the broker", status: 400, body });
}

test("a denial has its conditions, the likely fix and the block that a policy would need", () => {
  const { text } = refused({
    error_description: "access denied",
    reason: "policy.conditions",
    request_id: "req_1",
    failed_conditions: [
      { policy: "shop", fact: "ref", expected: "refs/heads/main", actual: "refs/heads/dev" },
      { policy: "shop", fact: "environment", expected: "production", actual: null, hint: "h" },
    ],
    when: "when:\n  ref: refs/heads/dev\n",
  });
  assert.equal(
    text,
    `access denied (policy.conditions)
policy shop: ref is refs/heads/dev, expected refs/heads/main
policy shop: environment is absent, expected production (h)
likely fix: run the job where the conditions hold, or change the policy
request ID: req_1
a policy for this job would have:
when:
  ref: refs/heads/dev
`,
  );
});

test("text of a broker is no command, no terminal control and no markup", () => {
  const hostile = "x\n::set-output name=a::b\u001b[2J##[add-mask]y\u202e<img src=x>";
  const error = refused({
    error_description: hostile,
    reason: hostile,
    request_id: hostile,
    failed_conditions: [{ policy: hostile, fact: hostile, expected: [hostile], actual: hostile }, null],
    when: hostile,
  });
  assert.doesNotMatch(error.lines.join("\u0000"), /\n|\u001b|\u202e|##\[/);
  assert.doesNotMatch(error.text, /\u001b|\u202e|##\[/);
  assert.ok(!page([], [{ credential: "a", refused: error }]).includes("<img"));
});

test("reasons with a fix are reasons of the broker", () => {
  const reasons = readFileSync(new URL("../../docs/reasons.md", import.meta.url), "utf8");
  for (const reason of Object.keys(FIXES)) {
    assert.ok(reasons.includes(`\`${reason}\``), reason);
  }
});

test("a secret is masked line by line", () => {
  const { lines } = quiet(() => mask("one\r\n\n  two\nthree%"));
  const masks = ["::add-mask::one", "::add-mask::  two", "::add-mask::three%25"];
  assert.deepEqual(lines, [...masks, ""]);
});
