import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { type Credential, credential, KINDS } from "../src/credential.ts";
import { type Written, variables, write, FORMATS } from "../src/formats.ts";
import { page } from "../src/summary.ts";
import { quiet } from "./quiet.ts";

const PASSWORD = "p'a:s\\s$(id)`w\"\u00f6/@?#%&";

function answer(change: object = {}, more: object = {}) {
  const sent = {
    kind: "postgres",
    name: "shop-db/migrate",
    username: "hp_1",
    password: PASSWORD,
    host: "db.acme.dev",
    port: 5432,
    database: "shop orders",
    sslmode: "disable",
    options: "-c role=shop_owner",
    ...change,
  };
  const body = {
    credential: sent,
    expires_at: "2099-01-01T00:00:00Z",
    lease: "hpl_1",
    policy: "shop-migrate",
    policies_revision: "sha256:00",
    decision: "dec_1",
    ...more,
  };
  return { who: "the broker", status: 200, body };
}

function read(change: object = {}, more: object = {}): Credential {
  return quiet(() => credential(answer(change, more), "shop-db/migrate")).result;
}

test("members that no variable or line can hold are refused", () => {
  for (const change of [
    { host: "a\nLD_PRELOAD=/x" },
    { password: "a\nb" },
    { password: "" },
    { password: null },
    { port: 70_000 },
    { port: "5432" },
    { username: null },
    { name: "other" },
  ]) {
    assert.throws(() => read(change), /unexpected response/, JSON.stringify(change));
  }
  assert.throws(() => read({}, { policy: "a\nb" }), /`policy`/);
  assert.throws(() => read({}, { expires_at: "soon" }), /`expires_at`/);
  assert.throws(() => read({ kind: "constructor" }), /not known to this version/);
});

test("a link to the policy is an https URL without a user, or it is not shown", () => {
  const right = "https://git.acme.dev/acme/policies/blob/0a1b/shop%20%28b%29.yaml?x=1&y=2#L7";
  const linked = read({}, { policy_url: right });
  assert.equal(linked.policyUrl, right);
  assert.match(
    page([linked], []),
    /<td><a href="https:\/\/git\.acme\.dev\/[^"]*x=1&#38;y=2#L7">shop-migrate<\/a><\/td>/,
  );
  for (const wrong of [
    "http://git.acme.dev/x",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://robot:canary-2@git.acme.dev/x",
    "https://git.acme.dev/\"><script>",
    "https://git.acme.dev/x)[y](https://evil.example",
    "https://git.acme.dev/`x`",
    "https://git.acme.dev/a b",
    "https://git.acme.dev/x\n::error::y",
    "https://",
    `https://git.acme.dev/${"a".repeat(5_000)}`,
    7,
    null,
  ]) {
    const found = read({}, { policy_url: wrong });
    assert.equal(found.policyUrl, undefined, String(wrong));
    assert.match(page([found], []), /<td>shop-migrate<\/td>/);
  }
});

test("members of unknown kinds are masked all the same", () => {
  const sent = answer({ kind: "oracle", extra: "canary-1" });
  const { lines } = quiet(() => assert.throws(() => credential(sent, "shop-db/migrate")));
  assert.ok(lines.includes("::add-mask::canary-1"));
});

test("answers choose no name of a variable", () => {
  const hostile = { PATH: "/x", NODE_OPTIONS: "-r x", LD_PRELOAD: "x", BASH_ENV: "x", GITHUB_ENV: "x" };
  const found = quiet(() => variables(read(hostile), () => "/ca")).result;
  const names = [...Object.keys(found.shown), ...Object.keys(found.secret)];
  assert.deepEqual(names, [
    "PGHOST",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGSSLMODE",
    "PGOPTIONS",
    "PGPASSWORD",
    "DATABASE_URL",
  ]);
});

test("every file and every part of an address is quoted", () => {
  const texts: Record<string, string> = {};
  const folder = {
    path: "/f",
    write: (name: string, text: string) => {
      texts[name] = text;
      return `/f/${name}`;
    },
  };
  const written: Record<string, Written> = {};
  const one = read();
  for (const format of FORMATS) {
    const ask = { credential: one.name, prefix: "SHOP" };
    written[format] = quiet(() => write(one, ask, format, folder)).result;
  }
  assert.equal(texts["SHOP_pgpass"], `db.acme.dev:5432:shop orders:hp_1:p'a\\:s\\\\s$(id)\`w"\u00f6/@?#%&\n`);
  assert.equal(
    texts["SHOP_url"],
    "postgresql://hp_1:p%27a%3As%5Cs%24%28id%29%60w%22%C3%B6%2F%40%3F%23%25%26@db.acme.dev:5432/shop%20orders?sslmode=disable&options=-c%20role%3Dshop_owner\n",
  );
  assert.match(texts["SHOP_env"] ?? "", /^export SHOP_PGPASSWORD='p'\\''a:s/m);
  assert.equal(JSON.parse(texts["SHOP_credential.json"] ?? "").password, PASSWORD);
  assert.equal(written["default"]?.shown["SHOP_PGPASSFILE"], "/f/SHOP_pgpass");
  for (const { shown } of Object.values(written)) {
    assert.ok(!Object.values(shown).some((value) => value.includes("p'a")));
  }
});

const CACHE = {
  kind: "redis",
  name: "shop-db/migrate",
  host: "::1",
  port: 6379,
  tls: "verify-full",
  ca: "-----BEGIN CERTIFICATE-----\n",
  database: undefined,
  sslmode: undefined,
  options: undefined,
};

test("a login of Redis is in the variables that its clients read", () => {
  const found = quiet(() => variables(read(CACHE), () => "/ca")).result;
  assert.deepEqual(found.shown, {
    REDIS_HOST: "::1",
    REDIS_PORT: "6379",
    REDIS_USERNAME: "hp_1",
    REDIS_CA_FILE: "/ca",
  });
  assert.equal(found.secret["REDISCLI_AUTH"], PASSWORD);
  assert.equal(
    found.secret["REDIS_URL"],
    "rediss://hp_1:p%27a%3As%5Cs%24%28id%29%60w%22%C3%B6%2F%40%3F%23%25%26@[::1]:6379",
  );
});

const LOGIN = {
  kind: "webhook",
  host: undefined,
  port: undefined,
  database: undefined,
  sslmode: undefined,
  options: undefined,
  members: { url: "https://app.acme.dev" },
  secrets: { basic: "qzjxwvkqpz" },
};

test("a login by webhook has variables that the target cannot choose, and its secrets are masked", () => {
  const { result, lines } = quiet(() =>
    variables(credential(answer(LOGIN, {}), "shop-db/migrate"), () => "/ca"),
  );
  assert.deepEqual(result.shown, {
    HALLPASS_USERNAME: "hp_1",
    HALLPASS_LOGIN_URL: "https://app.acme.dev",
  });
  assert.deepEqual(result.secret, { HALLPASS_PASSWORD: PASSWORD, HALLPASS_LOGIN_BASIC: "qzjxwvkqpz" });
  assert.ok(lines.includes("::add-mask::qzjxwvkqpz"));
  for (const members of [{ "A=B": "x" }, { a: "x\ny" }, { a: 1 }, ["a"], "a"]) {
    assert.throws(() => quiet(() => read({ ...LOGIN, members })));
    assert.throws(() => quiet(() => read({ ...LOGIN, secrets: members })));
  }
});

test("a login of MySQL is in an option file, and a certificate in the files of libpq", () => {
  const texts: Record<string, string> = {};
  const folder = {
    write(name: string, text: string) {
      texts[name] = text;
      return `/f/${name}`;
    },
  };
  const both = { options: undefined, sslmode: undefined };
  const mysql = { ...both, kind: "mysql", password: "p\\w\"x", ssl_mode: "VERIFY_IDENTITY", ca: "CA\n" };
  const key = "A".repeat(70);
  const client = { kind: "postgres-cert", password: undefined, key, certificate: "CRT", serial: "01" };
  const ask = { name: "shop-db/migrate", prefix: undefined } as never;
  const written = (change: object) =>
    quiet(() => write(read(change), ask, "default", folder as never)).result;
  assert.equal(written(mysql).shown["HALLPASS_MYSQL_FILE"], "/f/my.cnf");
  assert.equal(
    texts["my.cnf"],
    `[client]\nhost="db.acme.dev"\nport="5432"\nuser="hp_1"\npassword='p\\\\w"x'\nloose-ssl-mode="VERIFY_IDENTITY"\n` +
      `ssl-ca="/f/ca.pem"\n[client-mariadb]\nssl\nssl-verify-server-cert\n[mysql]\ndatabase="shop orders"\n`,
  );
  assert.equal(written(client).shown["PGSSLKEY"], "/f/client.key");
  assert.equal(
    texts["client.key"],
    `-----BEGIN PRIVATE KEY-----\n${"A".repeat(64)}\n${"A".repeat(6)}\n-----END PRIVATE KEY-----\n`,
  );
  assert.throws(() => written({ ...mysql, password: `"'` }), /option file/);
});

test("the kinds and their members are those of the broker", () => {
  // The documentation has them as a table, which a test of the broker keeps equal to its code.
  const root = new URL("../../", import.meta.url);
  const pages = readdirSync(new URL("docs/", root)).filter((name) => name.endsWith(".md"));
  const paths = ["README.md", ...pages.map((name) => `docs/${name}`)];
  const table = paths.map((path) => readFileSync(new URL(path, root), "utf8")).join("\n");
  const rows = table.matchAll(/^\|( members of kind `([\w-]+)`| ) \| `(\w+)` \| (optional; )?(.*) \|$/gm);
  const found: Record<string, { secret: string; shown: Record<string, boolean> }> = {};
  let kind = "";
  for (const [, first, name, member = "", optional, what] of rows) {
    kind = name ?? (first === " " ? kind : "");
    if (kind === "") continue;
    const entry = (found[kind] ??= { secret: "", shown: {} });
    if (what === "the secret") entry.secret = member;
    if (what === "public") entry.shown[member] = optional !== undefined;
  }
  const ours = Object.entries(KINDS).map(([name, { secret, shown }]) => {
    const forms = Object.entries<string>(shown);
    return [name, { secret, shown: Object.fromEntries(forms.map(([key, form]) => [key, form.endsWith("?")])) }];
  });
  assert.deepEqual(found, Object.fromEntries(ours));
});
