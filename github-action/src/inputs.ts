// The inputs of a step, checked before anything is sent.
import * as core from "@actions/core";
import { brokerAddress } from "./address.ts";
import { FORMATS, type Format } from "./formats.ts";
import { type Recipient, recipient } from "./seal.ts";
import { Failure, plain } from "./text.ts";

export interface Ask {
  credential: string;
  /** What begins the names of its variables. */
  prefix: string | undefined;
}

export interface Inputs {
  broker: string;
  asks: Ask[];
  ttl: string | undefined;
  scopes: string[];
  format: Format;
  exportEnv: boolean;
  failOnDenied: boolean;
  /** For whom the secrets are, if not for this job. */
  sealTo: Recipient | undefined;
}

export function readInputs(): Inputs {
  const inputs = {
    broker: brokerAddress(required("broker", "an address like `https://hallpass.example`")),
    asks: asks(required("credentials", "the name of a credential like `shop-db/read`")),
    ttl: core.getInput("ttl") || undefined,
    scopes: core.getInput("scopes").split(/[\s,]+/).filter((scope) => scope !== ""),
    format: format(core.getInput("format") || "default"),
    exportEnv: flag("export-env", false),
    failOnDenied: flag("fail-on-denied", true),
    sealTo: recipient(core.getInput("seal-to")),
  };
  if (inputs.sealTo !== undefined && (inputs.exportEnv || inputs.format !== "default")) {
    throw new Failure("with `seal-to` this job gets no secret; leave out `export-env` and `format`");
  }
  return inputs;
}

/** An unset variable of the workflow, like `${{ vars.X }}`, is an empty input. */
function required(name: string, expected: string): string {
  const text = core.getInput(name);
  if (text === "") {
    throw new Failure(`input \`${name}\` is empty; expected ${expected}`);
  }
  return text;
}

/** As action.yml has it if the workflow leaves it out or empty. */
function flag(name: string, usual: boolean): boolean {
  const text = core.getInput(name);
  if (text === "") {
    return usual;
  }
  const lower = text.toLowerCase();
  if (lower !== "true" && lower !== "false") {
    throw new Failure(`input \`${name}\` is \`${plain(text)}\`; expected \`true\` or \`false\``);
  }
  return lower === "true";
}

/** The lines of input `credentials`. */
export function asks(text: string): Ask[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const found = lines.filter((line) => line !== "").map(ask);
  if (found.length === 0) {
    throw new Failure("input `credentials` names no credential; expected one like `shop-db/read`");
  }
  if (found.length > 1 && found.some((one) => one.prefix === undefined)) {
    throw new Failure(
      "several `credentials` need a prefix each, like `SHOP=shop-db/read` and `AUDIT=audit-db/read`",
    );
  }
  for (const key of ["prefix", "credential"] as const) {
    const names = found.map((one) => one[key]?.toUpperCase());
    const twice = names.find((name, index) => name !== undefined && names.indexOf(name) !== index);
    if (twice !== undefined) {
      throw new Failure(`input \`credentials\` has the ${key} \`${plain(twice)}\` twice`);
    }
  }
  return found;
}

function ask(line: string): Ask {
  const [before, after] = line.includes("=") ? line.split(/=(.*)/) : [undefined, line];
  const prefix = before?.replace(/_+$/, "");
  const credential = after ?? "";
  if (!/^[!-~]{1,128}$/.test(credential)) {
    throw new Failure(
      `\`${plain(credential)}\` cannot be the name of a credential; expected one like \`shop-db/read\``,
    );
  }
  if (prefix !== undefined && !/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(prefix)) {
    throw new Failure(
      `\`${plain(prefix)}\` cannot be a prefix; expected letters, digits and \`_\`, like \`SHOP\``,
    );
  }
  if (prefix !== undefined && /^(GITHUB|RUNNER|ACTIONS|INPUT|STATE)(_|$)/i.test(prefix)) {
    throw new Failure(`prefix \`${prefix}\` is reserved for the runner; use another one, like \`SHOP\``);
  }
  return { credential, prefix };
}

function format(text: string): Format {
  const known = FORMATS.find((name) => name === text);
  if (known === undefined) {
    throw new Failure(`input \`format\` is \`${plain(text)}\`; expected one of ${FORMATS.join(", ")}`);
  }
  return known;
}
