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
      Object.assign(shown, usual(credential, file));
      break;
    case "env": {
      const names = Object.entries({ ...shown, ...secret });
      const lines = names.map(([name, value]) => `export ${prefix}${name}=${quoted(value)}\n`);
      shown["HALLPASS_ENV_FILE"] = file("env", "env", lines.join(""));
      break;
    }
    case "json": {
      const { name, kind, expiresAt } = credential;
      const members = { ...credential.shown, ...credential.secrets };
      const text = JSON.stringify({ name, kind, ...members, expires_at: expiresAt });
      shown["HALLPASS_JSON_FILE"] = file("json", "credential.json", `${text}\n`);
      break;
    }
    case "url": {
      const url = secret["DATABASE_URL"];
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
function usual(credential: Credential, file: WriteFile): Record<string, string> {
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
    case "jwt":
      return { HALLPASS_TOKEN_FILE: file("token", "token", secrets["token"] ?? "") };
    case "ssh": {
      // `ssh -i FILE` finds the certificate by its name.
      file("certificate", "id_ed25519-cert.pub", `${secrets["certificate"]}\n`);
      const key = file("private_key", "id_ed25519", secrets["private_key"] ?? "");
      return { HALLPASS_SSH_KEY_FILE: key };
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
    case "postgres": {
      const authorities = shown["ca"] ?? roots(text("sslmode"));
      const file = authorities === undefined ? undefined : writeAuthorities(String(authorities));
      const password = secrets["password"] ?? "";
      mask(encoded(password));
      return {
        shown: {
          PGHOST: text("host"),
          PGPORT: text("port"),
          PGDATABASE: text("database"),
          PGUSER: text("username"),
          PGSSLMODE: text("sslmode"),
          ...(file === undefined ? {} : { PGSSLROOTCERT: file }),
          ...(shown["options"] === undefined ? {} : { PGOPTIONS: text("options") }),
        },
        secret: { PGPASSWORD: password, DATABASE_URL: url(shown, password, file) },
      };
    }
  }
}

/** The authorities of this machine, else the public ones, where a database's name is to be checked. */
function roots(sslmode: string): string | undefined {
  if (sslmode !== "verify-full" && sslmode !== "verify-ca") {
    return undefined;
  }
  const own = getCACertificates("system");
  const usual = own.length > 0 ? own : getCACertificates("bundled");
  return [...usual, ...getCACertificates("extra"), ""].join("\n");
}

/** The connection address, encoded as the broker and the command line do it. */
function url(shown: Credential["shown"], password: string, ca: string | undefined): string {
  const text = (name: string) => encoded(String(shown[name]));
  const host = /^[\da-f:.]*:[\da-f:.]*$/i.test(String(shown["host"]))
    ? `[${shown["host"]}]`
    : text("host");
  const options = shown["options"] === undefined ? "" : `&options=${text("options")}`;
  const authorities = ca === undefined ? "" : `&sslrootcert=${encoded(ca)}`;
  const login = `${text("username")}:${encoded(password)}`;
  return `postgresql://${login}@${host}:${shown["port"]}/${text("database")}?sslmode=${text("sslmode")}${authorities}${options}`;
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
