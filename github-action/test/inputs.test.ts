import assert from "node:assert/strict";
import { test } from "node:test";
import { brokerAddress } from "../src/address.ts";
import { asks } from "../src/inputs.ts";

test("credentials are one per line, with a prefix each if there are several", () => {
  assert.deepEqual(asks("shop-db/read\n"), [{ credential: "shop-db/read", prefix: undefined }]);
  assert.deepEqual(asks("  SHOP_=shop-db/read\n\n  API=deploy-api"), [
    { credential: "shop-db/read", prefix: "SHOP" },
    { credential: "deploy-api", prefix: "API" },
  ]);
  assert.throws(() => asks("a\nb"), /need a prefix each/);
  assert.throws(() => asks("A=x\na=y"), /has the prefix `A` twice/);
  assert.throws(() => asks("A=x\nB=x"), /has the credential `X` twice/);
  assert.throws(() => asks(" \n"), /names no credential/);
});

test("a prefix that could make a variable of the runner is refused", () => {
  for (const line of ["GITHUB=a", "github_x=a", "RUNNER=a", "ACTIONS_ID=a", "INPUT=a", "STATE=a"]) {
    assert.throws(() => asks(line), /is reserved/, line);
  }
  for (const line of ["A-B=a", "1=a", "=a", "A B=a", "\u00c4=a"]) {
    assert.throws(() => asks(line), /cannot be a prefix/, line);
  }
});

test("the broker is asked over https, or on this machine", () => {
  assert.equal(brokerAddress("https://hallpass.example/"), "https://hallpass.example");
  for (const text of ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:1"]) {
    assert.equal(brokerAddress(text), text);
  }
  for (const text of [
    "http://hallpass.example",
    "http://127.0.0.1.example",
    "http://10.0.0.1",
    "ftp://127.0.0.1",
    "hallpass.example",
    "https://hallpass.example/?a",
    "https://hallpass.example/\u00e4",
  ]) {
    assert.throws(() => brokerAddress(text), /expected an address like/, text);
  }
  assert.throws(
    () => brokerAddress("https://me:canary@hallpass.example"),
    (error: Error) => !error.message.includes("canary"),
  );
});
