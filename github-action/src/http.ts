// Requests that are repeated only if they can succeed, and never follow a redirect.
import * as http from "node:http";
import * as https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, plain } from "./text.ts";

export interface Request {
  /** The other side, for error texts: `the broker`. */
  who: string;
  url: string;
  method: "GET" | "POST";
  headers: Record<string, string>;
  body?: string;
}

export interface Answer {
  who: string;
  status: number;
  /** The JSON object of the body, if it is one. */
  body: Record<string, unknown> | undefined;
}

/** A time to give up at, in milliseconds of `performance.now()`. */
export type Deadline = number;

export function within(milliseconds: number): Deadline {
  return performance.now() + milliseconds;
}

/** Sends until the answer is final. A request may arrive twice, so it must be safe to repeat. */
export async function send(request: Request, deadline: Deadline): Promise<Answer> {
  for (let attempt = 0; ; attempt += 1) {
    const tried = await once(request, deadline - performance.now());
    if ("status" in tried && !tried.isLater) {
      return tried;
    }
    // What the other side names only makes the wait longer.
    const backoff = Math.min(250 * 2 ** attempt, 5_000) * (0.5 + Math.random() / 2);
    const wait = Math.max(backoff, "status" in tried ? tried.retryAfter : 0);
    if (wait >= deadline - performance.now()) {
      if ("status" in tried) {
        return tried;
      }
      throw new Failure(tried.problem);
    }
    await sleep(wait);
  }
}

type Final = Answer & { isLater: boolean; retryAfter: number };

async function once(request: Request, left: number): Promise<Final | { problem: string }> {
  try {
    const response = await respond(request, Math.ceil(Math.max(1, Math.min(left, ATTEMPT))));
    const status = response.statusCode ?? 0;
    if (status >= 300 && status < 400) {
      response.destroy();
      throw new Failure(`${request.who} answers ${status}, a redirect, which is not followed`);
    }
    const body = parse(await read(request.who, response));
    const isLater =
      status >= 400 &&
      (body === undefined ? [429, 502, 503, 504].includes(status) : body["retryable"] === true);
    const seconds = Number(response.headers["retry-after"] ?? 0);
    const retryAfter = Number.isFinite(seconds) ? Math.max(0, seconds * 1_000) : 0;
    return { who: request.who, status, body, isLater, retryAfter };
  } catch (error) {
    if (error instanceof Failure) {
      throw error;
    }
    const problem = `${request.who} cannot be reached: ${code(error)}`;
    // What OpenSSL makes of an answer without TLS. The text itself is not shown.
    if (/wrong.version.number|packet.length.too.long/i.test(`${problem} ${error}`)) {
      throw new Failure(`${problem}; does ${request.who} speak plain http?`);
    }
    if (/CERT|TLS|SSL|ERR_INVALID|SIGNATURE/.test(problem)) {
      throw new Failure(
        `${problem}; is its certificate signed by a public CA? For another CA set NODE_EXTRA_CA_CERTS on the runner`,
      );
    }
    const hint = problem.includes("PROXY") ? "; check HTTPS_PROXY and NO_PROXY of the runner" : "";
    return { problem: `${problem}${hint}` };
  }
}

/** The head of the response. TLS ends at the other side, also behind the proxy of `HTTPS_PROXY`. */
function respond(request: Request, milliseconds: number): Promise<http.IncomingMessage> {
  const headers = { "user-agent": "hallpass-action", ...request.headers };
  const signal = AbortSignal.timeout(milliseconds);
  const isTls = new URL(request.url).protocol === "https:";
  // Plain http is for this machine only, which no proxy can reach.
  const agent = isTls ? new https.Agent({ proxyEnv: process.env }) : new http.Agent();
  const options = { method: request.method, headers, signal, agent };
  return new Promise((resolve, reject) => {
    const sent = (isTls ? https : http).request(request.url, options, resolve);
    sent.on("error", reject);
    sent.end(request.body);
  });
}

function code(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const known = cause as { code?: unknown; name?: unknown } | null;
  return plain(known?.code ?? known?.name ?? "unknown error", 80);
}

async function read(who: string, response: http.IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > LONGEST) {
      throw new Failure(`${who} answers with more than ${LONGEST} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

const ATTEMPT = 30_000;
const LONGEST = 1 << 20;
