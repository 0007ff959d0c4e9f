// Sealed delivery: the secret goes to a recipient outside the job, whose public key the job names.
import { createHash } from "node:crypto";
import { mask } from "./mask.ts";
import { Failure } from "./text.ts";

/** The public key of a recipient: P-256 or X25519, nothing else of its JWK. */
export type Recipient = { kty: "EC"; crv: "P-256"; x: string; y: string } | { kty: "OKP"; crv: "X25519"; x: string };

/** Reads the input `seal-to`; `undefined` if it is empty. */
export function recipient(text: string): Recipient | undefined {
  if (text.trim() === "") {
    return undefined;
  }
  let jwk: Record<string, unknown>;
  try {
    jwk = Object(JSON.parse(text));
  } catch {
    throw new Failure(`input \`seal-to\` is not JSON; ${EXPECTED}`);
  }
  if (jwk["d"] !== undefined) {
    mask(String(jwk["d"]));
    throw new Failure(
      "input `seal-to` holds a private key, which is now known to this job; make a new key pair, and give the job its public half",
    );
  }
  const { kty, crv, x, y } = jwk;
  if (kty === "EC" && crv === "P-256" && isCoordinate(x) && isCoordinate(y)) {
    return { kty, crv, x, y };
  }
  if (kty === "OKP" && crv === "X25519" && isCoordinate(x)) {
    return { kty, crv, x };
  }
  throw new Failure(`input \`seal-to\` is not a public key for sealing; ${EXPECTED}`);
}

/** 32 bytes in base64url. */
function isCoordinate(value: unknown): value is string {
  return typeof value === "string" && /^[\w-]{43}$/.test(value);
}

/** Whether it is a message of the expected form for this key. Only the recipient can read it. */
export function isSealedTo(key: Recipient, message: unknown): message is string {
  if (typeof message !== "string" || !/^[\w-]+\.\.[\w-]{16}\.[\w-]+\.[\w-]{22}$/.test(message)) {
    return false;
  }
  try {
    const text = Buffer.from(message.split(".")[0] ?? "", "base64url").toString("utf8");
    const { alg, enc, kid } = Object(JSON.parse(text)) as Record<string, unknown>;
    return alg === "ECDH-ES" && enc === "A256GCM" && kid === thumbprint(key);
  } catch {
    return false;
  }
}

/** RFC 7638: the required members in the order of their names. */
export function thumbprint(key: Recipient): string {
  const { crv, kty, x } = key;
  const members = kty === "EC" ? { crv, kty, x, y: key.y } : { crv, kty, x };
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}

const EXPECTED = 'expected a JWK like `{"kty":"OKP","crv":"X25519","x":"..."}`';
