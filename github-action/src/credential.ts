// A credential as the broker answers it, checked member by member: what is secret, what is public.
import type { Answer } from "./http.ts";
import { mask } from "./mask.ts";
import { type Recipient, isSealedTo } from "./seal.ts";
import { Failure, plain } from "./text.ts";

export interface Credential {
  name: string;
  kind: Kind;
  /** What may be shown. */
  shown: Record<string, string | number | string[]>;
  /** What may not. */
  secrets: Record<string, string>;
  /** Texts by names that the target chose, and those of them that may not be shown. */
  chosen: Record<string, string>;
  chosenSecrets: Record<string, string>;
  /** The secrets, sealed to a recipient: this may be shown. */
  sealed: string | undefined;
  expiresAt: string;
  policy: string;
  /** The link to the policy at its commit. */
  policyUrl: string | undefined;
  revision: string;
  decision: string;
}

export type Kind = keyof typeof KINDS;

/** The lease handle of an answer, masked. It is read before anything that can fail. */
export function lease(answer: Answer): string | undefined {
  const handle = answer.body?.["lease"];
  if (typeof handle !== "string" || !/^[!-~]+$/.test(handle)) {
    return undefined;
  }
  mask(handle);
  return handle;
}

/** Whether other tokens of the job's subject have the same login: revoking it would end theirs. */
export function isShared(answer: Answer): boolean {
  return answer.body?.["shared"] === true;
}

/** The credential of an answer, sealed if it was to be. Its secrets are masked. */
export function credential(answer: Answer, asked: string, sealTo?: Recipient): Credential {
  const wrong = (problem: string) =>
    new Failure(`the broker returned an unexpected response for \`${asked}\`: ${problem}`);
  const body = answer.body ?? {};
  const sent = body["credential"];
  if (typeof sent !== "object" || sent === null) {
    throw wrong("`credential` is missing");
  }
  const members = new Map(Object.entries(sent));
  // Every member that is not public is masked, also of an unknown kind.
  const kind = String(members.get("kind"));
  const known = Object.hasOwn(KINDS, kind) ? KINDS[kind as Kind] : undefined;
  for (const [name, value] of members) {
    const isSealed = sealTo !== undefined && name === "sealed" && isSealedTo(sealTo, value);
    const isPublic =
      isSealed || ["kind", "name"].includes(name) || Object.hasOwn(known?.shown ?? {}, name);
    if (!isPublic) {
      const texts = typeof value === "object" && value !== null ? Object.values(value) : [value];
      texts.filter((text) => typeof text === "string").forEach(mask);
    }
  }
  if (known === undefined) {
    throw wrong(`kind \`${plain(kind)}\` is not known to this version of the action`);
  }
  if (members.get("name") !== asked) {
    throw wrong(`it is about \`${plain(members.get("name"))}\``);
  }
  const result: Credential = {
    name: asked,
    kind: kind as Kind,
    shown: {},
    secrets: {},
    chosen: {},
    chosenSecrets: {},
    sealed: undefined,
    expiresAt: line(body, "expires_at"),
    policy: line(body, "policy"),
    policyUrl: link(body["policy_url"]),
    revision: line(body, "policies_revision"),
    decision: line(body, "decision"),
  };
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(result.expiresAt) || Number.isNaN(Date.parse(result.expiresAt))) {
    throw wrong("`expires_at` is not a time");
  }
  for (const [name, form] of Object.entries<Form>(known.shown)) {
    const value = members.get(name) ?? undefined;
    if (value === undefined && !form.endsWith("?")) {
      throw wrong(`\`${name}\` is missing`);
    }
    if (value !== undefined) {
      if (!fits(form, value)) {
        throw wrong(`\`${name}\` is not a value of its kind`);
      }
      if (form === "named?") {
        result.chosen = value as Record<string, string>;
      } else {
        result.shown[name] = value as string;
      }
    }
  }
  if (sealTo !== undefined) {
    const sealed = members.get("sealed");
    const isOpen = [known.secret, "url", "secrets"].some((name) => members.has(name));
    if (isOpen || !isSealedTo(sealTo, sealed)) {
      throw wrong("it is not sealed to the key of `seal-to`; does the broker support sealed delivery?");
    }
    result.sealed = sealed;
    return result;
  }
  const secret = members.get(known.secret);
  if (typeof secret !== "string" || secret === "" || CONTROL.test(secret)) {
    throw wrong(`\`${known.secret}\` is missing or not a single line`);
  }
  result.secrets[known.secret] = secret;
  if (kind === "webhook") {
    const more = members.get("secrets") ?? {};
    if (!fits("named?", more)) {
      throw wrong("`secrets` is not a value of its kind");
    }
    result.chosenSecrets = more as Record<string, string>;
  }
  return result;

  function line(object: Record<string, unknown>, name: string): string {
    const value = object[name];
    if (typeof value !== "string" || CONTROL.test(value)) {
      throw wrong(`\`${name}\` is missing or not a single line`);
    }
    return value;
  }
}

/** A link that is safe to show; `undefined` for anything else. */
export function link(text: unknown): string | undefined {
  if (typeof text !== "string" || text.length > 4_096 || !/^https:\/\/[\w\-.~:/?#@!$&+,;=%]+$/.test(text)) {
    return undefined;
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url === undefined || url.username !== "" || url.password !== "" ? undefined : text;
}

type Form = "text" | "text?" | "lines" | "lines?" | "port" | "list" | "list?" | "named?";

function fits(form: Form, value: unknown): boolean {
  const isLine = (one: unknown) => typeof one === "string" && !CONTROL.test(one);
  switch (form) {
    case "text":
    case "text?":
      return isLine(value);
    case "lines":
    case "lines?":
      return typeof value === "string";
    case "port":
      return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 65_536;
    case "list":
    case "list?":
      return Array.isArray(value) && value.every(isLine);
    case "named?": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        return false;
      }
      const entries = Object.entries(value);
      return entries.length <= 32 && entries.every(([name, text]) => CHOSEN.test(name) && isLine(text));
    }
  }
}

// What a shell, a file of lines or a connection address could read as two values.
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u;

// A name that a target chose: it is part of the name of a variable.
const CHOSEN = /^[a-z][a-z0-9_]{0,31}$/;

/** The kinds of the broker: their public members, and the member that is the secret. */
export const KINDS = {
  jwt: { secret: "token", shown: { token_type: "text?", scopes: "list?" } },
  mysql: {
    secret: "password",
    shown: {
      username: "text",
      host: "text",
      port: "port",
      database: "text",
      ssl_mode: "text",
      ca: "lines?",
    },
  },
  postgres: {
    secret: "password",
    shown: {
      username: "text",
      host: "text",
      port: "port",
      database: "text",
      sslmode: "text",
      ca: "lines?",
      options: "text?",
    },
  },
  "postgres-cert": {
    secret: "key",
    shown: {
      certificate: "lines",
      serial: "text",
      username: "text",
      host: "text",
      port: "port",
      database: "text",
      sslmode: "text",
      ca: "lines?",
    },
  },
  redis: {
    secret: "password",
    shown: { username: "text", host: "text", port: "port", tls: "text", ca: "lines?" },
  },
  ssh: { secret: "certificate", shown: { serial: "text", principals: "list" } },
  webhook: { secret: "password", shown: { username: "text", members: "named?" } },
} as const satisfies Record<string, { secret: string; shown: Record<string, Form> }>;
