// A credential as variables and as files. The names of variables are fixed: no answer can choose one.
import { getCACertificates } from "node:tls";
import type { Ask } from "./inputs.ts";
import type { Credential } from "./credential.ts";
import type { Folder } from "./files.ts";
import { mask } from "./mask.ts";
import { Failure } from "./text.ts";

export const FORMATS = ["default", "env", "json", "url"] as const;
export type Format = (typeof FORMATS)[number];

export interface Written {
  /** What later steps always get. */
  shown: Record<string, string>;
  /** What they get with `export-env: true`. */
  secret: Record<string, string>;
  /** Each file by what it is. */
  files: Record<string, string>;
}

/** Writes the files of a credential. Everything secret in them is masked before. */
export function write(credential: Credential, ask: Ask, format: Format, folder: Folder): Written {
  const prefix = ask.prefix === undefined ? "" : `${ask.prefix}_`;
  const files: Record<string, string> = {};
  const file = (what: string, name: string, text: string) => {
    if (what !== "ca") {
      // A file's lines are not always the secret's own: quotes and `:` are escaped there.
      mask(text);
    }
    const path = folder.write(`${prefix}${name}`, text);
    files[what] = path;
    return path;
  };
  if (credential.sealed !== undefined) {
    // This job cannot log in with it, so there are no variables of a login.
    files["sealed"] = folder.write(`${prefix}sealed`, `${credential.sealed}\n`);
    return { shown: { [`${prefix}HALLPASS_SEALED_FILE`]: files["sealed"] }, secret: {}, files };
  }
  const { shown, secret } = variables(credential, (text) => file("ca", "ca.pem", text));
  Object.values(secret).forEach(mask);
  switch (format) {
    case "default":
      Object.assign(shown, usual(credential, file, files["ca"]));
      break;
    case "env": {
      const names = Object.entries({ ...shown, ...secret });
      const lines = names.map(([name, value]) => `export ${prefix}${name}=${quoted(value)}\n`);
      shown["HALLPASS_ENV_FILE"] = file("env", "env", lines.join(""));
      break;
    }
    case "json": {
      const { name, kind, expiresAt } = credential;
      const members: Record<string, unknown> = { ...credential.shown, ...credential.secrets };
      if (kind === "webhook") {
        members["members"] = credential.chosen;
        members["secrets"] = credential.chosenSecrets;
      }
      const text = JSON.stringify({ name, kind, ...members, expires_at: expiresAt });
      shown["HALLPASS_JSON_FILE"] = file("json", "credential.json", `${text}\n`);
      break;
    }
    case "url": {
      const url = secret["DATABASE_URL"] ?? secret["REDIS_URL"];
      if (url === undefined) {
        throw new Failure(
          `format \`url\` is for databases, and \`${credential.name}\` is of kind \`${credential.kind}\`; use one of default, env, json`,
        );
      }
      shown["HALLPASS_URL_FILE"] = file("url", "url", `${url}\n`);
      break;
    }
  }
  const prefixed = (values: Record<string, string>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]));
  return { shown: prefixed(shown), secret: prefixed(secret), files };
}

type WriteFile = (what: string, name: string, text: string) => string;

/** The file that the usual program reads, and the variable that leads it there. */
function usual(
  credential: Credential,
  file: WriteFile,
  ca: string | undefined,
): Record<string, string> {
  const { shown, secrets } = credential;
  switch (credential.kind) {
    case "postgres": {
      // `:` and `\` are escaped (PostgreSQL manual, "The Password File").
      const fields = [shown["host"], shown["port"], shown["database"], shown["username"]];
      const entry = [...fields, secrets["password"]].map((field) =>
        String(field).replace(/[\\:]/g, "\\$&"),
      );
      return { PGPASSFILE: file("pgpass", "pgpass", `${entry.join(":")}\n`) };
    }
    case "mysql": {
      const text = optionFile(shown, secrets["password"] ?? "", ca);
      return { HALLPASS_MYSQL_FILE: file("mysql", "my.cnf", text) };
    }
    case "postgres-cert": {
      // libpq refuses a key that others may read, and finds both by these variables.
      const pem = (secrets["key"] ?? "").match(/.{1,64}/g) ?? [];
      const key = `-----BEGIN PRIVATE KEY-----\n${pem.join("\n")}\n-----END PRIVATE KEY-----\n`;
      const text = `${String(shown["certificate"]).trimEnd()}\n`;
      const certificate = file("certificate", "client.crt", text);
      return { PGSSLCERT: certificate, PGSSLKEY: file("private_key", "client.key", key) };
    }
    case "redis": {
      const password = file("redis", "redis-password", secrets["password"] ?? "");
      return { HALLPASS_REDIS_PASSWORD_FILE: password };
    }
    case "jwt":
      return { HALLPASS_TOKEN_FILE: file("token", "token", secrets["token"] ?? "") };
    case "ssh": {
      // `ssh -i FILE` finds the certificate by its name.
      file("certificate", "id_ed25519-cert.pub", `${secrets["certificate"]}\n`);
      const key = file("private_key", "id_ed25519", secrets["private_key"] ?? "");
      return { HALLPASS_SSH_KEY_FILE: key };
    }
    case "webhook": {
      const texts = { password: secrets["password"] ?? "", ...credential.chosenSecrets };
      const written = Object.entries(texts).map(([name, text]) => {
        const variable = name === "password" ? "HALLPASS_PASSWORD" : chosenName(name);
        return [`${variable}_FILE`, file(name, `login-${name}`, text)];
      });
      return Object.fromEntries(written);
    }
  }
}

/** The variables without their prefix, as `hallpass exec` sets them. */
export function variables(
  credential: Credential,
  writeAuthorities: (text: string) => string,
): { shown: Record<string, string>; secret: Record<string, string> } {
  const { shown, secrets } = credential;
  const text = (name: string) => String(shown[name] ?? "");
  switch (credential.kind) {
    case "jwt":
      return { shown: {}, secret: { HALLPASS_TOKEN: secrets["token"] ?? "" } };
    case "ssh":
      return {
        shown: { HALLPASS_SERIAL: text("serial") },
        secret: {
          HALLPASS_CERTIFICATE: secrets["certificate"] ?? "",
          HALLPASS_PRIVATE_KEY: secrets["private_key"] ?? "",
        },
      };
    case "mysql": {
      const file = authorities(shown["ca"], text("ssl_mode"), writeAuthorities);
      const password = secrets["password"] ?? "";
      mask(encoded(password));
      const parameters = file === undefined ? "" : `&ssl-ca=${encoded(file)}`;
      const address = `${login(shown, password)}/${encoded(text("database"))}`;
      return {
        shown: {
          MYSQL_HOST: text("host"),
          MYSQL_TCP_PORT: text("port"),
          MYSQL_DATABASE: text("database"),
          MYSQL_USER: text("username"),
          MYSQL_SSL_MODE: text("ssl_mode"),
          ...(file === undefined ? {} : { MYSQL_SSL_CA: file }),
        },
        secret: {
          MYSQL_PASSWORD: password,
          DATABASE_URL: `mysql://${address}?ssl-mode=${text("ssl_mode")}${parameters}`,
        },
      };
    }
    case "redis": {
      const file = authorities(shown["ca"], text("tls"), writeAuthorities);
      const password = secrets["password"] ?? "";
      mask(encoded(password));
      const scheme = text("tls") === "verify-full" ? "rediss" : "redis";
      return {
        shown: {
          REDIS_HOST: text("host"),
          REDIS_PORT: text("port"),
          REDIS_USERNAME: text("username"),
          ...(file === undefined ? {} : { REDIS_CA_FILE: file }),
        },
        secret: {
          REDIS_PASSWORD: password,
          REDISCLI_AUTH: password,
          REDIS_URL: `${scheme}://${login(shown, password)}`,
        },
      };
    }
    case "webhook": {
      const named = (texts: Record<string, string>) =>
        Object.fromEntries(Object.entries(texts).map(([name, value]) => [chosenName(name), value]));
      return {
        shown: { HALLPASS_USERNAME: text("username"), ...named(credential.chosen) },
        secret: { HALLPASS_PASSWORD: secrets["password"] ?? "", ...named(credential.chosenSecrets) },
      };
    }
    case "postgres-cert": {
      const file = authorities(shown["ca"], text("sslmode"), writeAuthorities);
      return {
        shown: libpq(text, file),
        secret: { HALLPASS_KEY: secrets["key"] ?? "" },
      };
    }
    case "postgres": {
      const file = authorities(shown["ca"], text("sslmode"), writeAuthorities);
      const password = secrets["password"] ?? "";
      mask(encoded(password));
      return {
        shown: {
          ...libpq(text, file),
          ...(shown["options"] === undefined ? {} : { PGOPTIONS: text("options") }),
        },
        secret: { PGPASSWORD: password, DATABASE_URL: url(shown, password, file) },
      };
    }
  }
}

/** The variable of a member that the target named: never one of the target's choice. */
function chosenName(name: string): string {
  return `HALLPASS_LOGIN_${name.toUpperCase()}`;
}

/** The variables of libpq for any login or certificate. */
function libpq(text: (name: string) => string, ca: string | undefined): Record<string, string> {
  return {
    PGHOST: text("host"),
    PGPORT: text("port"),
    PGDATABASE: text("database"),
    PGUSER: text("username"),
    PGSSLMODE: text("sslmode"),
    ...(ca === undefined ? {} : { PGSSLROOTCERT: ca }),
  };
}

/** The file of the authorities: the answer's own, else those of this machine, where a server's name is to be checked. */
function authorities(
  own: Credential["shown"][string] | undefined,
  mode: string,
  writeAuthorities: (text: string) => string,
): string | undefined {
  const text = own ?? roots(mode);
  return text === undefined ? undefined : writeAuthorities(String(text));
}

/** The authorities of this machine, else the public ones, where a server's name is to be checked. */
function roots(mode: string): string | undefined {
  if (!["verify-full", "verify-ca", "VERIFY_IDENTITY", "VERIFY_CA"].includes(mode)) {
    return undefined;
  }
  const own = getCACertificates("system");
  const usual = own.length > 0 ? own : getCACertificates("bundled");
  return [...usual, ...getCACertificates("extra"), ""].join("\n");
}

/** The connection address, encoded as the broker and the command line do it. */
function url(shown: Credential["shown"], password: string, ca: string | undefined): string {
  const text = (name: string) => encoded(String(shown[name]));
  const options = shown["options"] === undefined ? "" : `&options=${text("options")}`;
  const file = ca === undefined ? "" : `&sslrootcert=${encoded(ca)}`;
  return `postgresql://${login(shown, password)}/${text("database")}?sslmode=${text("sslmode")}${file}${options}`;
}

/** User, password, host and port of an address. */
function login(shown: Credential["shown"], password: string): string {
  const host = String(shown["host"]);
  const isAddress = /^[\da-f:.]*:[\da-f:.]*$/i.test(host);
  const user = `${encoded(String(shown["username"]))}:${encoded(password)}`;
  return `${user}@${isAddress ? `[${host}]` : encoded(host)}:${shown["port"]}`;
}

/** An option file of MySQL and MariaDB, as `hallpass get --format mysql` writes it. */
function optionFile(shown: Credential["shown"], password: string, ca: string | undefined): string {
  const text = (name: string) => String(shown[name]);
  const client = [
    ["host", text("host")],
    ["port", text("port")],
    ["user", text("username")],
    ["password", password],
    ["loose-ssl-mode", text("ssl_mode")],
    ...(ca === undefined ? [] : [["ssl-ca", ca]]),
  ].map(([name, value]) => `${name}=${option(value ?? "")}`);
  const tls =
    text("ssl_mode") === "VERIFY_IDENTITY" ? ["ssl", "ssl-verify-server-cert"] : ["skip-ssl"];
  const database = `database=${option(text("database"))}`;
  return ["[client]", ...client, "[client-mariadb]", ...tls, "[mysql]", database, ""].join("\n");
}

/** A value between quotes. The file has no way to write the same quote between them. */
function option(value: string): string {
  const quote = ['"', "'"].find((one) => !value.includes(one));
  if (quote === undefined) {
    throw new Failure("a value with both kinds of quotes cannot be written to an option file; use `format: url`");
  }
  return `${quote}${value.replaceAll("\\", "\\\\")}${quote}`;
}

/** Everything but letters, digits and `-._~` as `%XX`. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** One word for any shell of POSIX. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
