import assert from "node:assert/strict";
import { test } from "node:test";
import { isSealedTo, recipient, thumbprint } from "../src/seal.ts";
import { quiet } from "./quiet.ts";

// RFC 7748 section 6.1.
const X = "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo";
const JWK = { kty: "OKP", crv: "X25519", x: X };

test("a recipient is a public key for sealing, and nothing more of it is sent", () => {
  assert.equal(recipient("  "), undefined);
  assert.deepEqual(recipient(JSON.stringify({ ...JWK, kid: "mine", use: "enc" })), JWK);
  const p256 = { kty: "EC", crv: "P-256", x: X, y: X };
  assert.deepEqual(recipient(JSON.stringify(p256)), p256);
  for (const wrong of [
    "x",
    "null",
    "[]",
    "{}",
    JSON.stringify({ ...JWK, crv: "Ed25519" }),
    JSON.stringify({ ...JWK, x: `${X}A` }),
    JSON.stringify({ ...JWK, x: [X] }),
    JSON.stringify({ ...p256, y: undefined }),
    JSON.stringify({ ...p256, crv: "P-384" }),
  ]) {
    assert.throws(() => recipient(wrong), /`seal-to`/, wrong);
  }
});

test("a private key is refused, masked and not repeated", () => {
  const wrong = JSON.stringify({ ...JWK, d: "canary-3" });
  const { lines } = quiet(() =>
    assert.throws(
      () => recipient(wrong),
      (error: Error) => /private key/.test(error.message) && !error.message.includes("canary-3"),
    ),
  );
  assert.ok(lines.includes("::add-mask::canary-3"));
});

test("a thumbprint is that of RFC 7638", () => {
  // RFC 8037 appendix A.3, whose key is of another curve: the members are the same.
  const key = { kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" };
  assert.equal(thumbprint(key as never), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
});

test("only a message for this key counts as sealed", () => {
  const key = recipient(JSON.stringify(JWK));
  assert.ok(key);
  const message = (change: object) => {
    const header = { alg: "ECDH-ES", enc: "A256GCM", cty: "JWT", kid: thumbprint(key), ...change };
    const protect = Buffer.from(JSON.stringify(header)).toString("base64url");
    return `${protect}..${"A".repeat(16)}.Q2lwaGVydGV4dA.${"A".repeat(22)}`;
  };
  assert.ok(isSealedTo(key, message({})));
  for (const change of [{ kid: "other" }, { alg: "dir" }, { alg: "ECDH-ES+A256KW" }, { enc: "A128GCM" }]) {
    assert.ok(!isSealedTo(key, message(change)), JSON.stringify(change));
  }
  for (const wrong of [
    undefined,
    7,
    "",
    message({}).replace("..", ".AA."),
    `${message({})}\n`,
    message({}).slice(0, -1),
    message({}).replace(/^[^.]*/, "x"),
  ]) {
    assert.ok(!isSealedTo(key, wrong), String(wrong));
  }
});
