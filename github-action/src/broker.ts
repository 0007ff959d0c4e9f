// The requests to the broker.
import { randomBytes } from "node:crypto";
import { type Answer, type Deadline, send } from "./http.ts";
import { Refused } from "./refusal.ts";
import type { Recipient } from "./seal.ts";
import { Failure, plain } from "./text.ts";

const WHO = "the broker";

/** Asks the server what it calls itself, before it gets a token. */
export async function checkName(broker: string, deadline: Deadline): Promise<void> {
  const url = `${broker}/.well-known/openid-configuration`;
  const answer = accepted(await send({ who: WHO, url, method: "GET", headers: {} }, deadline));
  const issuer = answer.body?.["issuer"];
  if (issuer !== broker) {
    throw new Failure(
      `the server at \`${broker}\` calls itself \`${plain(issuer)}\`; the input \`broker\` must be the broker's setting \`issuer\``,
    );
  }
}

/** The kinds of the credentials that the job may have, by name. */
export async function kinds(
  broker: string,
  token: string,
  deadline: Deadline,
): Promise<Map<string, string>> {
  const answer = await post(broker, "/api/explain", token, {}, deadline);
  if (answer.status >= 400) {
    const refused = new Refused(answer);
    if (!refused.isDenial) {
      throw refused;
    }
  }
  const offers = answer.body?.["credentials"];
  const list = Array.isArray(offers) ? (offers as Record<string, unknown>[]) : [];
  return new Map(list.map((offer) => [String(offer?.["credential"]), String(offer?.["kind"])]));
}

export interface Wanted {
  credential: string;
  ttl?: string;
  scopes?: string[];
  inputs?: Record<string, string>;
  response_encryption_jwk?: Recipient;
}

/** Exchanges the token. All attempts have one idempotency key, so that they get one credential. */
export async function exchange(
  broker: string,
  token: string,
  wanted: Wanted,
  deadline: Deadline,
): Promise<Answer> {
  const key = randomBytes(24).toString("base64url");
  const headers = { "idempotency-key": key };
  return accepted(await post(broker, "/api/credentials", token, wanted, deadline, headers));
}

/** Ends a lease, and says what became of it. */
export async function revoke(broker: string, handle: string, deadline: Deadline): Promise<string> {
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const body = new URLSearchParams({ token: handle }).toString();
  const url = `${broker}/revoke`;
  const answer = accepted(await send({ who: WHO, url, method: "POST", headers, body }, deadline));
  return plain(answer.body?.["lease"] ?? "gone", 20);
}

function post(
  broker: string,
  path: string,
  token: string,
  body: object,
  deadline: Deadline,
  more: Record<string, string> = {},
): Promise<Answer> {
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}`, ...more };
  const url = `${broker}${path}`;
  return send({ who: WHO, url, method: "POST", headers, body: JSON.stringify(body) }, deadline);
}

function accepted(answer: Answer): Answer {
  if (answer.status >= 400) {
    throw new Refused(answer);
  }
  if (answer.body === undefined) {
    throw new Failure(`${answer.who} returned an unexpected response: it is not a JSON object`);
  }
  return answer;
}
