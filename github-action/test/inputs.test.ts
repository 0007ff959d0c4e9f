import assert from "node:assert/strict";
import { test } from "node:test";
import { brokerAddress } from "../src/address.ts";
import { asks, readInputs } from "../src/inputs.ts";
import { Failure } from "../src/text.ts";

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

test("an input that is empty or no truth value is named, with what was expected", () => {
  const given = {
    broker: "https://hallpass.example",
    credentials: "shop-db/read",
    "export-env": "false",
    "fail-on-denied": "true",
  };
  const read = (inputs: Record<string, string>) => {
    for (const [name, value] of Object.entries({ ...given, ...inputs })) {
      process.env[`INPUT_${name.toUpperCase()}`] = value;
    }
    return readInputs();
  };
  const refused = (inputs: Record<string, string>, message: string) =>
    assert.throws(
      () => read(inputs),
      (error: Error) => error instanceof Failure && error.message === message,
    );
  refused(
    { broker: " " },
    "input `broker` is empty; expected an address like `https://hallpass.example`",
  );
  refused(
    { credentials: "\n" },
    "input `credentials` is empty; expected the name of a credential like `shop-db/read`",
  );
  for (const name of ["export-env", "fail-on-denied"]) {
    refused({ [name]: "yes" }, `input \`${name}\` is \`yes\`; expected \`true\` or \`false\``);
  }
  assert.equal(read({ "export-env": "True" }).exportEnv, true);
  assert.equal(read({ "fail-on-denied": "FALSE" }).failOnDenied, false);
  const { exportEnv, failOnDenied } = read({ "export-env": "", "fail-on-denied": "" });
  assert.deepEqual([exportEnv, failOnDenied], [false, true]);
});
