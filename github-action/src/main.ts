// The main step: each credential is obtained, masked, written and exported.
import * as core from "@actions/core";
import { checkName, exchange, kinds, type Wanted } from "./broker.ts";
import { type Credential, credential, isShared, lease } from "./credential.ts";
import { Folder } from "./files.ts";
import { write } from "./formats.ts";
import { within } from "./http.ts";
import { type Ask, type Inputs, readInputs } from "./inputs.ts";
import { mask, masked } from "./mask.ts";
import { Refused } from "./refusal.ts";
import { newKeyPair } from "./sshkey.ts";
import { type State, save } from "./state.ts";
import { type Denied, summarize } from "./summary.ts";
import { Failure, plain } from "./text.ts";
import { idToken } from "./token.ts";

async function run(): Promise<void> {
  const inputs = readInputs();
  const folder = new Folder();
  const state: State = { broker: inputs.broker, folder: folder.path, leases: [] };
  save(state);
  await checkName(inputs.broker, within(PATIENCE));
  const token = await idToken(inputs.broker, within(PATIENCE));
  const offers = await kinds(inputs.broker, token, within(PATIENCE));

  const granted: Credential[] = [];
  const denied: Denied[] = [];
  const shown: Record<string, object> = {};
  try {
    for (const ask of inputs.asks) {
      try {
        const isSsh = offers.get(ask.credential) === "ssh";
        const [one, output] = await obtain(ask, inputs, token, isSsh, folder, state);
        granted.push(one);
        shown[one.name] = output;
      } catch (error) {
        if (!(error instanceof Refused)) {
          throw error;
        }
        denied.push({ credential: ask.credential, refused: error });
        const report = inputs.failOnDenied || !error.isDenial ? fail : core.warning;
        const verb = error.isDenial ? "denied" : "not available";
        const why = error.text.replace(/^access denied: /, "");
        report(`\`${ask.credential}\` is ${verb}: ${why}`, { title: "hallpass" });
      }
    }
  } finally {
    core.setOutput("credentials", JSON.stringify(shown));
    const handles = state.leases.filter((one) => one.isShared !== true).map(({ handle }) => `${handle}\n`);
    core.setOutput("leases", folder.write("leases", handles.join("")));
    await summarize(granted, denied);
  }
}

async function obtain(
  ask: Ask,
  inputs: Inputs,
  token: string,
  isSsh: boolean,
  folder: Folder,
  state: State,
): Promise<[Credential, object]> {
  const { sealTo } = inputs;
  if (isSsh && sealTo !== undefined) {
    throw new Failure(
      `\`${ask.credential}\` is an SSH certificate, which needs the recipient's own SSH key; use \`hallpass get --seal-to\` with \`--input public_key=...\``,
    );
  }
  const pair = isSsh ? newKeyPair() : undefined;
  const wanted: Wanted = {
    credential: ask.credential,
    ...(inputs.ttl === undefined ? {} : { ttl: inputs.ttl }),
    ...(inputs.scopes.length === 0 ? {} : { scopes: inputs.scopes }),
    ...(pair === undefined ? {} : { inputs: { public_key: pair.publicLine } }),
    ...(sealTo === undefined ? {} : { response_encryption_jwk: sealTo }),
  };
  const answer = await exchange(inputs.broker, token, wanted, within(PATIENCE));
  // Before anything can fail, so that the post step ends it.
  const handle = lease(answer);
  if (handle !== undefined) {
    const expiresAt = String(answer.body?.["expires_at"]);
    // One that was to be sealed ends also if others have it, unless it is sealed: it was readable on its way.
    const shared = isShared(answer) && sealTo === undefined ? { isShared: true as const } : {};
    state.leases.push({ credential: ask.credential, handle, expiresAt, ...shared });
    save(state);
  }
  const one = credential(answer, ask.credential, sealTo);
  if (pair !== undefined) {
    mask(pair.privateText);
    one.secrets["private_key"] = pair.privateText;
  }
  await masked();
  const written = write(one, ask, inputs.format, folder);
  warnOfRivals(Object.keys(written.shown), inputs.exportEnv);
  for (const [name, value] of Object.entries(written.shown)) {
    core.exportVariable(name, value);
  }
  for (const [name, value] of Object.entries(inputs.exportEnv ? written.secret : {})) {
    core.exportVariable(name, value);
  }
  if (one.sealed !== undefined) {
    // It is for a recipient that may use it after this job: it ends at its own time.
    state.leases.filter((lease) => lease.handle === handle).forEach((lease) => (lease.outlivesJob = true));
    save(state);
  }
  core.info(`hallpass: \`${plain(one.name)}\` until ${one.expiresAt}, by policy \`${plain(one.policy)}\``);
  const output = {
    kind: one.kind,
    ...one.shown,
    ...(one.sealed === undefined ? {} : { sealed: one.sealed }),
    expires_at: one.expiresAt,
    policy: one.policy,
    ...(one.policyUrl === undefined ? {} : { policy_url: one.policyUrl }),
    policies_revision: one.revision,
    decision: one.decision,
    files: written.files,
  };
  return [one, output];
}

/** Variables of libpq that lead elsewhere, even beside those of a login. */
function warnOfRivals(names: string[], exportsSecrets: boolean): void {
  if (!names.includes("PGHOST")) {
    return;
  }
  const rivals = ["PGHOSTADDR", "PGSERVICE", ...(exportsSecrets ? [] : ["PGPASSWORD"])];
  for (const name of rivals.filter((one) => process.env[one])) {
    core.warning(`${name} is set in this job and wins over the login's own; unset it`, {
      title: "hallpass",
    });
  }
}

function fail(text: string, properties: core.AnnotationProperties): void {
  core.error(text, properties);
  process.exitCode = core.ExitCode.Failure;
}

const PATIENCE = 60_000;

try {
  await run();
} catch (error) {
  const isKnown = error instanceof Failure || error instanceof Refused;
  const text = error instanceof Refused ? error.text : String((error as Error)?.message);
  fail(isKnown ? text : `unexpected error of the action: ${(error as Error)?.name}`, {
    title: "hallpass",
  });
}
