// node_modules/@actions/core/lib/command.js
import * as os from "os";

// node_modules/@actions/core/lib/utils.js
function toCommandValue(input) {
  if (input === null || input === void 0) {
    return "";
  } else if (typeof input === "string" || input instanceof String) {
    return input;
  }
  return JSON.stringify(input);
}
function toCommandProperties(annotationProperties) {
  if (!Object.keys(annotationProperties).length) {
    return {};
  }
  return {
    title: annotationProperties.title,
    file: annotationProperties.file,
    line: annotationProperties.startLine,
    endLine: annotationProperties.endLine,
    col: annotationProperties.startColumn,
    endColumn: annotationProperties.endColumn
  };
}

// node_modules/@actions/core/lib/command.js
function issueCommand(command, properties, message) {
  const cmd = new Command(command, properties, message);
  process.stdout.write(cmd.toString() + os.EOL);
}
var CMD_STRING = "::";
var Command = class {
  constructor(command, properties, message) {
    if (!command) {
      command = "missing.command";
    }
    this.command = command;
    this.properties = properties;
    this.message = message;
  }
  toString() {
    let cmdStr = CMD_STRING + this.command;
    if (this.properties && Object.keys(this.properties).length > 0) {
      cmdStr += " ";
      let first = true;
      for (const key in this.properties) {
        if (this.properties.hasOwnProperty(key)) {
          const val = this.properties[key];
          if (val) {
            if (first) {
              first = false;
            } else {
              cmdStr += ",";
            }
            cmdStr += `${key}=${escapeProperty(val)}`;
          }
        }
      }
    }
    cmdStr += `${CMD_STRING}${escapeData(this.message)}`;
    return cmdStr;
  }
};
function escapeData(s) {
  return toCommandValue(s).replace(/%/g, "%25").replace(/\r/g, "%0D").replace(/\n/g, "%0A");
}
function escapeProperty(s) {
  return toCommandValue(s).replace(/%/g, "%25").replace(/\r/g, "%0D").replace(/\n/g, "%0A").replace(/:/g, "%3A").replace(/,/g, "%2C");
}

// node_modules/@actions/core/lib/file-command.js
import * as crypto from "crypto";
import * as fs from "fs";
import * as os2 from "os";
function issueFileCommand(command, message) {
  const filePath = process.env[`GITHUB_${command}`];
  if (!filePath) {
    throw new Error(`Unable to find environment variable for file command ${command}`);
  }
  if (!fs.existsSync(filePath)) {
    throw new Error(`Missing file at path: ${filePath}`);
  }
  fs.appendFileSync(filePath, `${toCommandValue(message)}${os2.EOL}`, {
    encoding: "utf8"
  });
}
function prepareKeyValueMessage(key, value) {
  const delimiter = `ghadelimiter_${crypto.randomUUID()}`;
  const convertedValue = toCommandValue(value);
  if (key.includes(delimiter)) {
    throw new Error(`Unexpected input: name should not contain the delimiter "${delimiter}"`);
  }
  if (convertedValue.includes(delimiter)) {
    throw new Error(`Unexpected input: value should not contain the delimiter "${delimiter}"`);
  }
  return `${key}<<${delimiter}${os2.EOL}${convertedValue}${os2.EOL}${delimiter}`;
}

// node_modules/@actions/core/lib/core.js
import * as os4 from "os";

// node_modules/@actions/core/lib/summary.js
import { EOL as EOL3 } from "os";
import { constants, promises } from "fs";
var __awaiter = function(thisArg, _arguments, P, generator) {
  function adopt(value) {
    return value instanceof P ? value : new P(function(resolve) {
      resolve(value);
    });
  }
  return new (P || (P = Promise))(function(resolve, reject) {
    function fulfilled(value) {
      try {
        step(generator.next(value));
      } catch (e) {
        reject(e);
      }
    }
    function rejected(value) {
      try {
        step(generator["throw"](value));
      } catch (e) {
        reject(e);
      }
    }
    function step(result) {
      result.done ? resolve(result.value) : adopt(result.value).then(fulfilled, rejected);
    }
    step((generator = generator.apply(thisArg, _arguments || [])).next());
  });
};
var { access, appendFile, writeFile } = promises;
var SUMMARY_ENV_VAR = "GITHUB_STEP_SUMMARY";
var Summary = class {
  constructor() {
    this._buffer = "";
  }
  /**
   * Finds the summary file path from the environment, rejects if env var is not found or file does not exist
   * Also checks r/w permissions.
   *
   * @returns step summary file path
   */
  filePath() {
    return __awaiter(this, void 0, void 0, function* () {
      if (this._filePath) {
        return this._filePath;
      }
      const pathFromEnv = process.env[SUMMARY_ENV_VAR];
      if (!pathFromEnv) {
        throw new Error(`Unable to find environment variable for $${SUMMARY_ENV_VAR}. Check if your runtime environment supports job summaries.`);
      }
      try {
        yield access(pathFromEnv, constants.R_OK | constants.W_OK);
      } catch (_a) {
        throw new Error(`Unable to access summary file: '${pathFromEnv}'. Check if the file has correct read/write permissions.`);
      }
      this._filePath = pathFromEnv;
      return this._filePath;
    });
  }
  /**
   * Wraps content in an HTML tag, adding any HTML attributes
   *
   * @param {string} tag HTML tag to wrap
   * @param {string | null} content content within the tag
   * @param {[attribute: string]: string} attrs key-value list of HTML attributes to add
   *
   * @returns {string} content wrapped in HTML element
   */
  wrap(tag, content, attrs = {}) {
    const htmlAttrs = Object.entries(attrs).map(([key, value]) => ` ${key}="${value}"`).join("");
    if (!content) {
      return `<${tag}${htmlAttrs}>`;
    }
    return `<${tag}${htmlAttrs}>${content}</${tag}>`;
  }
  /**
   * Writes text in the buffer to the summary buffer file and empties buffer. Will append by default.
   *
   * @param {SummaryWriteOptions} [options] (optional) options for write operation
   *
   * @returns {Promise<Summary>} summary instance
   */
  write(options) {
    return __awaiter(this, void 0, void 0, function* () {
      const overwrite = !!(options === null || options === void 0 ? void 0 : options.overwrite);
      const filePath = yield this.filePath();
      const writeFunc = overwrite ? writeFile : appendFile;
      yield writeFunc(filePath, this._buffer, { encoding: "utf8" });
      return this.emptyBuffer();
    });
  }
  /**
   * Clears the summary buffer and wipes the summary file
   *
   * @returns {Summary} summary instance
   */
  clear() {
    return __awaiter(this, void 0, void 0, function* () {
      return this.emptyBuffer().write({ overwrite: true });
    });
  }
  /**
   * Returns the current summary buffer as a string
   *
   * @returns {string} string of summary buffer
   */
  stringify() {
    return this._buffer;
  }
  /**
   * If the summary buffer is empty
   *
   * @returns {boolen} true if the buffer is empty
   */
  isEmptyBuffer() {
    return this._buffer.length === 0;
  }
  /**
   * Resets the summary buffer without writing to summary file
   *
   * @returns {Summary} summary instance
   */
  emptyBuffer() {
    this._buffer = "";
    return this;
  }
  /**
   * Adds raw text to the summary buffer
   *
   * @param {string} text content to add
   * @param {boolean} [addEOL=false] (optional) append an EOL to the raw text (default: false)
   *
   * @returns {Summary} summary instance
   */
  addRaw(text, addEOL = false) {
    this._buffer += text;
    return addEOL ? this.addEOL() : this;
  }
  /**
   * Adds the operating system-specific end-of-line marker to the buffer
   *
   * @returns {Summary} summary instance
   */
  addEOL() {
    return this.addRaw(EOL3);
  }
  /**
   * Adds an HTML codeblock to the summary buffer
   *
   * @param {string} code content to render within fenced code block
   * @param {string} lang (optional) language to syntax highlight code
   *
   * @returns {Summary} summary instance
   */
  addCodeBlock(code2, lang) {
    const attrs = Object.assign({}, lang && { lang });
    const element = this.wrap("pre", this.wrap("code", code2), attrs);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML list to the summary buffer
   *
   * @param {string[]} items list of items to render
   * @param {boolean} [ordered=false] (optional) if the rendered list should be ordered or not (default: false)
   *
   * @returns {Summary} summary instance
   */
  addList(items, ordered = false) {
    const tag = ordered ? "ol" : "ul";
    const listItems = items.map((item) => this.wrap("li", item)).join("");
    const element = this.wrap(tag, listItems);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML table to the summary buffer
   *
   * @param {SummaryTableCell[]} rows table rows
   *
   * @returns {Summary} summary instance
   */
  addTable(rows) {
    const tableBody = rows.map((row2) => {
      const cells = row2.map((cell) => {
        if (typeof cell === "string") {
          return this.wrap("td", cell);
        }
        const { header, data, colspan, rowspan } = cell;
        const tag = header ? "th" : "td";
        const attrs = Object.assign(Object.assign({}, colspan && { colspan }), rowspan && { rowspan });
        return this.wrap(tag, data, attrs);
      }).join("");
      return this.wrap("tr", cells);
    }).join("");
    const element = this.wrap("table", tableBody);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds a collapsable HTML details element to the summary buffer
   *
   * @param {string} label text for the closed state
   * @param {string} content collapsable content
   *
   * @returns {Summary} summary instance
   */
  addDetails(label, content) {
    const element = this.wrap("details", this.wrap("summary", label) + content);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML image tag to the summary buffer
   *
   * @param {string} src path to the image you to embed
   * @param {string} alt text description of the image
   * @param {SummaryImageOptions} options (optional) addition image attributes
   *
   * @returns {Summary} summary instance
   */
  addImage(src, alt, options) {
    const { width, height } = options || {};
    const attrs = Object.assign(Object.assign({}, width && { width }), height && { height });
    const element = this.wrap("img", null, Object.assign({ src, alt }, attrs));
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML section heading element
   *
   * @param {string} text heading text
   * @param {number | string} [level=1] (optional) the heading level, default: 1
   *
   * @returns {Summary} summary instance
   */
  addHeading(text, level) {
    const tag = `h${level}`;
    const allowedTag = ["h1", "h2", "h3", "h4", "h5", "h6"].includes(tag) ? tag : "h1";
    const element = this.wrap(allowedTag, text);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML thematic break (<hr>) to the summary buffer
   *
   * @returns {Summary} summary instance
   */
  addSeparator() {
    const element = this.wrap("hr", null);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML line break (<br>) to the summary buffer
   *
   * @returns {Summary} summary instance
   */
  addBreak() {
    const element = this.wrap("br", null);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML blockquote to the summary buffer
   *
   * @param {string} text quote text
   * @param {string} cite (optional) citation url
   *
   * @returns {Summary} summary instance
   */
  addQuote(text, cite) {
    const attrs = Object.assign({}, cite && { cite });
    const element = this.wrap("blockquote", text, attrs);
    return this.addRaw(element).addEOL();
  }
  /**
   * Adds an HTML anchor tag to the summary buffer
   *
   * @param {string} text link text/content
   * @param {string} href hyperlink
   *
   * @returns {Summary} summary instance
   */
  addLink(text, href) {
    const element = this.wrap("a", text, { href });
    return this.addRaw(element).addEOL();
  }
};
var _summary = new Summary();
var summary = _summary;

// node_modules/@actions/core/lib/platform.js
import os3 from "os";
var platform = os3.platform();
var arch = os3.arch();

// node_modules/@actions/core/lib/core.js
var ExitCode;
(function(ExitCode2) {
  ExitCode2[ExitCode2["Success"] = 0] = "Success";
  ExitCode2[ExitCode2["Failure"] = 1] = "Failure";
})(ExitCode || (ExitCode = {}));
function exportVariable(name, val) {
  const convertedVal = toCommandValue(val);
  process.env[name] = convertedVal;
  const filePath = process.env["GITHUB_ENV"] || "";
  if (filePath) {
    return issueFileCommand("ENV", prepareKeyValueMessage(name, val));
  }
  issueCommand("set-env", { name }, convertedVal);
}
function setSecret(secret) {
  issueCommand("add-mask", {}, secret);
}
function getInput(name, options) {
  const val = process.env[`INPUT_${name.replace(/ /g, "_").toUpperCase()}`] || "";
  if (options && options.required && !val) {
    throw new Error(`Input required and not supplied: ${name}`);
  }
  if (options && options.trimWhitespace === false) {
    return val;
  }
  return val.trim();
}
function setOutput(name, value) {
  const filePath = process.env["GITHUB_OUTPUT"] || "";
  if (filePath) {
    return issueFileCommand("OUTPUT", prepareKeyValueMessage(name, value));
  }
  process.stdout.write(os4.EOL);
  issueCommand("set-output", { name }, toCommandValue(value));
}
function error(message, properties = {}) {
  issueCommand("error", toCommandProperties(properties), message instanceof Error ? message.toString() : message);
}
function warning(message, properties = {}) {
  issueCommand("warning", toCommandProperties(properties), message instanceof Error ? message.toString() : message);
}
function info(message) {
  process.stdout.write(message + os4.EOL);
}
function saveState(name, value) {
  const filePath = process.env["GITHUB_STATE"] || "";
  if (filePath) {
    return issueFileCommand("STATE", prepareKeyValueMessage(name, value));
  }
  issueCommand("save-state", { name }, toCommandValue(value));
}

// src/broker.ts
import { randomBytes } from "node:crypto";

// src/http.ts
import * as http from "node:http";
import * as https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

// src/text.ts
var Failure = class extends Error {
};
function plain(value, longest = 500) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  const shown = text.slice(0, longest).replace(HIDDEN, (letter) => {
    const code2 = letter.codePointAt(0) ?? 0;
    return `<U+${code2.toString(16).toUpperCase().padStart(4, "0")}>`;
  }).replaceAll("##[", "## [");
  return text.length > longest ? `${shown}...` : shown;
}
function plainLines(text) {
  const lines = text.split(/\r?\n/).slice(0, 100);
  return lines.map((line) => plain(line)).join("\n");
}
function html(text) {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
var HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;

// src/http.ts
function within(milliseconds) {
  return performance.now() + milliseconds;
}
async function send(request, deadline) {
  for (let attempt = 0; ; attempt += 1) {
    const tried = await once(request, deadline - performance.now());
    if ("status" in tried && !tried.isLater) {
      return tried;
    }
    const backoff = Math.min(250 * 2 ** attempt, 5e3) * (0.5 + Math.random() / 2);
    const wait = Math.max(backoff, "status" in tried ? tried.retryAfter : 0);
    if (wait >= deadline - performance.now()) {
      if ("status" in tried) {
        return tried;
      }
      throw new Failure(tried.problem);
    }
    await sleep(wait);
  }
}
async function once(request, left) {
  try {
    const response = await respond(request, Math.ceil(Math.max(1, Math.min(left, ATTEMPT))));
    const status = response.statusCode ?? 0;
    if (status >= 300 && status < 400) {
      response.destroy();
      throw new Failure(`${request.who} answers ${status}, a redirect, which is not followed`);
    }
    const body = parse(await read(request.who, response));
    const isLater = status >= 400 && (body === void 0 ? [429, 502, 503, 504].includes(status) : body["retryable"] === true);
    const seconds = Number(response.headers["retry-after"] ?? 0);
    const retryAfter = Number.isFinite(seconds) ? Math.max(0, seconds * 1e3) : 0;
    return { who: request.who, status, body, isLater, retryAfter };
  } catch (error2) {
    if (error2 instanceof Failure) {
      throw error2;
    }
    const problem = `${request.who} cannot be reached: ${code(error2)}`;
    if (/wrong.version.number|packet.length.too.long/i.test(`${problem} ${error2}`)) {
      throw new Failure(`${problem}; does ${request.who} speak plain http?`);
    }
    if (/CERT|TLS|SSL|ERR_INVALID|SIGNATURE/.test(problem)) {
      throw new Failure(
        `${problem}; is its certificate signed by a public CA? For another CA set NODE_EXTRA_CA_CERTS on the runner`
      );
    }
    const hint = problem.includes("PROXY") ? "; check HTTPS_PROXY and NO_PROXY of the runner" : "";
    return { problem: `${problem}${hint}` };
  }
}
function respond(request, milliseconds) {
  const headers = { "user-agent": "hallpass-action", ...request.headers };
  const signal = AbortSignal.timeout(milliseconds);
  const isTls = new URL(request.url).protocol === "https:";
  const agent = isTls ? new https.Agent({ proxyEnv: process.env }) : new http.Agent();
  const options = { method: request.method, headers, signal, agent };
  return new Promise((resolve, reject) => {
    const sent = (isTls ? https : http).request(request.url, options, resolve);
    sent.on("error", reject);
    sent.end(request.body);
  });
}
function code(error2) {
  const cause = error2 instanceof Error && error2.cause !== void 0 ? error2.cause : error2;
  const known = cause;
  return plain(known?.code ?? known?.name ?? "unknown error", 80);
}
async function read(who, response) {
  const pieces = [];
  let length = 0;
  for await (const piece of response) {
    length += piece.length;
    if (length > LONGEST) {
      throw new Failure(`${who} answers with more than ${LONGEST} bytes`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}
function parse(text) {
  try {
    const value = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? value : void 0;
  } catch {
    return void 0;
  }
}
var ATTEMPT = 3e4;
var LONGEST = 1 << 20;

// src/refusal.ts
var Refused = class extends Error {
  reason;
  lines;
  /** The `when:` block that the job would need. */
  when;
  constructor(answer) {
    const body = answer.body ?? {};
    const reason = plain(body["reason"] ?? `status ${answer.status}`, 80);
    const sentence = plain(body["error_description"] ?? `${answer.who} gave no reason`);
    super(`${sentence} (${reason})`);
    this.reason = reason;
    this.when = typeof body["when"] === "string" ? plainLines(body["when"]) : void 0;
    this.lines = [this.message];
    const failed = Array.isArray(body["failed_conditions"]) ? body["failed_conditions"] : [];
    for (const one of failed.slice(0, 50)) {
      const hint = one?.["hint"] ? ` (${plain(one["hint"])})` : "";
      const found = one?.["actual"] ?? "absent";
      this.lines.push(
        `policy ${plain(one?.["policy"])}: ${plain(one?.["fact"])} is ${plain(found)}, expected ${plain(one?.["expected"])}${hint}`
      );
    }
    if (Object.hasOwn(FIXES, reason)) {
      this.lines.push(`likely fix: ${FIXES[reason]}`);
    }
    if (body["request_id"] !== void 0) {
      this.lines.push(`request ID: ${plain(body["request_id"], 80)}`);
    }
  }
  get isDenial() {
    return this.reason.startsWith("policy.");
  }
  /** All of it, for an annotation. */
  get text() {
    const when = this.when === void 0 ? [] : ["a policy for this job would have:", this.when];
    return [...this.lines, ...when].join("\n");
  }
};
var ADMINISTRATORS = "add a policy for this repository; policy administrators can look up the reason by the request ID";
var FIXES = {
  "policy.trigger": "runs of pull requests and other runs that outsiders can start are refused unless a policy names that `trigger`",
  "policy.conditions": "run the job where the conditions hold, or change the policy",
  "policy.requirement": "run the job where the requirement holds, or change it in the policies",
  "policy.credential": "correct the name in the input `credentials`; it is one of the policies' credentials",
  "policy.not_granted": "correct the name in the input `credentials`, or grant it in a policy of this repository",
  "policy.scope": "ask for fewer `scopes`, or grant them in the policy",
  "policy.ttl": "ask for a shorter `ttl`, or raise it in the policy",
  "policy.denied": ADMINISTRATORS,
  "policy.stranger": ADMINISTRATORS,
  "policy.tenant": "add the repository's owner to the `tenants` of the issuer in the policies",
  "token.audience": "the input `broker` must be the broker's setting `issuer`, letter by letter",
  "token.issuer": "the policies must have this CI as an issuer",
  "request.scope": "correct the input `scopes`",
  "request.ttl": "correct the input `ttl`; it has a unit, like `10m`",
  "request.sealed": "the input `seal-to` needs a broker that is built with the feature `sealed`; nothing was issued",
  "request.path": "the input `broker` must be the address of the broker's public listener",
  "request.input": "the credential needs an input that this action does not send; use `hallpass get --input`"
};

// src/broker.ts
var WHO = "the broker";
async function checkName(broker, deadline) {
  const url2 = `${broker}/.well-known/openid-configuration`;
  const answer = accepted(await send({ who: WHO, url: url2, method: "GET", headers: {} }, deadline));
  const issuer = answer.body?.["issuer"];
  if (issuer !== broker) {
    throw new Failure(
      `the server at \`${broker}\` calls itself \`${plain(issuer)}\`; the input \`broker\` must be the broker's setting \`issuer\``
    );
  }
}
async function kinds(broker, token, deadline) {
  const answer = await post(broker, "/api/explain", token, {}, deadline);
  if (answer.status >= 400) {
    const refused = new Refused(answer);
    if (!refused.isDenial) {
      throw refused;
    }
  }
  const offers = answer.body?.["credentials"];
  const list = Array.isArray(offers) ? offers : [];
  return new Map(list.map((offer) => [String(offer?.["credential"]), String(offer?.["kind"])]));
}
async function exchange(broker, token, wanted, deadline) {
  const key = randomBytes(24).toString("base64url");
  const headers = { "idempotency-key": key };
  return accepted(await post(broker, "/api/credentials", token, wanted, deadline, headers));
}
function post(broker, path, token, body, deadline, more = {}) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}`, ...more };
  const url2 = `${broker}${path}`;
  return send({ who: WHO, url: url2, method: "POST", headers, body: JSON.stringify(body) }, deadline);
}
function accepted(answer) {
  if (answer.status >= 400) {
    throw new Refused(answer);
  }
  if (answer.body === void 0) {
    throw new Failure(`${answer.who} returned an unexpected response: it is not a JSON object`);
  }
  return answer;
}

// src/mask.ts
function mask(secret) {
  for (const line of new Set(secret.split(/\r\n|\r|\n/))) {
    if (line.trim() !== "") {
      setSecret(line);
    }
  }
}
async function masked() {
  await new Promise((resolve, reject) => {
    process.stdout.write("", (error2) => {
      if (error2) {
        reject(new Failure("the log cannot be written, so that no secret can be masked in it"));
      } else {
        resolve();
      }
    });
  });
}

// src/seal.ts
import { createHash } from "node:crypto";
function recipient(text) {
  if (text.trim() === "") {
    return void 0;
  }
  let jwk;
  try {
    jwk = Object(JSON.parse(text));
  } catch {
    throw new Failure(`input \`seal-to\` is not JSON; ${EXPECTED}`);
  }
  if (jwk["d"] !== void 0) {
    mask(String(jwk["d"]));
    throw new Failure(
      "input `seal-to` holds a private key, which is now known to this job; make a new key pair, and give the job its public half"
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
function isCoordinate(value) {
  return typeof value === "string" && /^[\w-]{43}$/.test(value);
}
function isSealedTo(key, message) {
  if (typeof message !== "string" || !/^[\w-]+\.\.[\w-]{16}\.[\w-]+\.[\w-]{22}$/.test(message)) {
    return false;
  }
  try {
    const text = Buffer.from(message.split(".")[0] ?? "", "base64url").toString("utf8");
    const { alg, enc, kid } = Object(JSON.parse(text));
    return alg === "ECDH-ES" && enc === "A256GCM" && kid === thumbprint(key);
  } catch {
    return false;
  }
}
function thumbprint(key) {
  const { crv, kty, x } = key;
  const members = kty === "EC" ? { crv, kty, x, y: key.y } : { crv, kty, x };
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}
var EXPECTED = 'expected a JWK like `{"kty":"OKP","crv":"X25519","x":"..."}`';

// src/credential.ts
function lease(answer) {
  const handle = answer.body?.["lease"];
  if (typeof handle !== "string" || !/^[!-~]+$/.test(handle)) {
    return void 0;
  }
  mask(handle);
  return handle;
}
function isShared(answer) {
  return answer.body?.["shared"] === true;
}
function credential(answer, asked, sealTo) {
  const wrong = (problem) => new Failure(`the broker returned an unexpected response for \`${asked}\`: ${problem}`);
  const body = answer.body ?? {};
  const sent = body["credential"];
  if (typeof sent !== "object" || sent === null) {
    throw wrong("`credential` is missing");
  }
  const members = new Map(Object.entries(sent));
  const kind = String(members.get("kind"));
  const known = Object.hasOwn(KINDS, kind) ? KINDS[kind] : void 0;
  for (const [name, value] of members) {
    const isSealed = sealTo !== void 0 && name === "sealed" && isSealedTo(sealTo, value);
    const isPublic = isSealed || ["kind", "name"].includes(name) || Object.hasOwn(known?.shown ?? {}, name);
    if (!isPublic) {
      const texts = typeof value === "object" && value !== null ? Object.values(value) : [value];
      texts.filter((text) => typeof text === "string").forEach(mask);
    }
  }
  if (known === void 0) {
    throw wrong(`kind \`${plain(kind)}\` is not known to this version of the action`);
  }
  if (members.get("name") !== asked) {
    throw wrong(`it is about \`${plain(members.get("name"))}\``);
  }
  const result = {
    name: asked,
    kind,
    shown: {},
    secrets: {},
    chosen: {},
    chosenSecrets: {},
    sealed: void 0,
    expiresAt: line(body, "expires_at"),
    policy: line(body, "policy"),
    policyUrl: link(body["policy_url"]),
    revision: line(body, "policies_revision"),
    decision: line(body, "decision")
  };
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(result.expiresAt) || Number.isNaN(Date.parse(result.expiresAt))) {
    throw wrong("`expires_at` is not a time");
  }
  for (const [name, form] of Object.entries(known.shown)) {
    const value = members.get(name) ?? void 0;
    if (value === void 0 && !form.endsWith("?")) {
      throw wrong(`\`${name}\` is missing`);
    }
    if (value !== void 0) {
      if (!fits(form, value)) {
        throw wrong(`\`${name}\` is not a value of its kind`);
      }
      if (form === "named?") {
        result.chosen = value;
      } else {
        result.shown[name] = value;
      }
    }
  }
  if (sealTo !== void 0) {
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
    result.chosenSecrets = more;
  }
  return result;
  function line(object, name) {
    const value = object[name];
    if (typeof value !== "string" || CONTROL.test(value)) {
      throw wrong(`\`${name}\` is missing or not a single line`);
    }
    return value;
  }
}
function link(text) {
  if (typeof text !== "string" || text.length > 4096 || !/^https:\/\/[\w\-.~:/?#@!$&+,;=%]+$/.test(text)) {
    return void 0;
  }
  const url2 = URL.canParse(text) ? new URL(text) : void 0;
  return url2 === void 0 || url2.username !== "" || url2.password !== "" ? void 0 : text;
}
function fits(form, value) {
  const isLine = (one) => typeof one === "string" && !CONTROL.test(one);
  switch (form) {
    case "text":
    case "text?":
      return isLine(value);
    case "lines":
    case "lines?":
      return typeof value === "string";
    case "port":
      return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 65536;
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
var CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u;
var CHOSEN = /^[a-z][a-z0-9_]{0,31}$/;
var KINDS = {
  jwt: { secret: "token", shown: { token_type: "text?", scopes: "list?" } },
  mysql: {
    secret: "password",
    shown: {
      username: "text",
      host: "text",
      port: "port",
      database: "text",
      ssl_mode: "text",
      ca: "lines?"
    }
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
      options: "text?"
    }
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
      ca: "lines?"
    }
  },
  redis: {
    secret: "password",
    shown: { username: "text", host: "text", port: "port", tls: "text", ca: "lines?" }
  },
  ssh: { secret: "certificate", shown: { serial: "text", principals: "list" } },
  webhook: { secret: "password", shown: { username: "text", members: "named?" } }
};

// src/files.ts
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
var Folder = class {
  path;
  /** A new folder that only this user can enter, in `RUNNER_TEMP`. */
  constructor() {
    const temporary = process.env["RUNNER_TEMP"];
    if (!temporary) {
      throw new Failure("RUNNER_TEMP is not set; the runner should set it to a folder for temporary files");
    }
    const parent = realpathSync(temporary);
    const workspace = process.env["GITHUB_WORKSPACE"];
    if (workspace && `${parent}${sep}`.startsWith(`${real(workspace)}${sep}`)) {
      throw new Failure("RUNNER_TEMP is in the workspace, where files end in artifacts; set it to another folder");
    }
    this.path = mkdtempSync(join(parent, PREFIX));
  }
  /** A new file that only this user can read. */
  write(name, text) {
    const path = join(this.path, name);
    writeFileSync(path, text, { mode: 384, flag: "wx" });
    return path;
  }
};
function real(path) {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
var PREFIX = "hallpass-";

// src/formats.ts
import { getCACertificates } from "node:tls";
var FORMATS = ["default", "env", "json", "url"];
function write(credential2, ask2, format2, folder) {
  const prefix = ask2.prefix === void 0 ? "" : `${ask2.prefix}_`;
  const files = {};
  const file = (what, name, text) => {
    if (what !== "ca") {
      mask(text);
    }
    const path = folder.write(`${prefix}${name}`, text);
    files[what] = path;
    return path;
  };
  if (credential2.sealed !== void 0) {
    files["sealed"] = folder.write(`${prefix}sealed`, `${credential2.sealed}
`);
    return { shown: { [`${prefix}HALLPASS_SEALED_FILE`]: files["sealed"] }, secret: {}, files };
  }
  const { shown, secret } = variables(credential2, (text) => file("ca", "ca.pem", text));
  Object.values(secret).forEach(mask);
  switch (format2) {
    case "default":
      Object.assign(shown, usual(credential2, file, files["ca"]));
      break;
    case "env": {
      const names = Object.entries({ ...shown, ...secret });
      const lines = names.map(([name, value]) => `export ${prefix}${name}=${quoted(value)}
`);
      shown["HALLPASS_ENV_FILE"] = file("env", "env", lines.join(""));
      break;
    }
    case "json": {
      const { name, kind, expiresAt } = credential2;
      const members = { ...credential2.shown, ...credential2.secrets };
      if (kind === "webhook") {
        members["members"] = credential2.chosen;
        members["secrets"] = credential2.chosenSecrets;
      }
      const text = JSON.stringify({ name, kind, ...members, expires_at: expiresAt });
      shown["HALLPASS_JSON_FILE"] = file("json", "credential.json", `${text}
`);
      break;
    }
    case "url": {
      const url2 = secret["DATABASE_URL"] ?? secret["REDIS_URL"];
      if (url2 === void 0) {
        throw new Failure(
          `format \`url\` is for databases, and \`${credential2.name}\` is of kind \`${credential2.kind}\`; use one of default, env, json`
        );
      }
      shown["HALLPASS_URL_FILE"] = file("url", "url", `${url2}
`);
      break;
    }
  }
  const prefixed = (values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]));
  return { shown: prefixed(shown), secret: prefixed(secret), files };
}
function usual(credential2, file, ca) {
  const { shown, secrets } = credential2;
  switch (credential2.kind) {
    case "postgres": {
      const fields = [shown["host"], shown["port"], shown["database"], shown["username"]];
      const entry = [...fields, secrets["password"]].map(
        (field2) => String(field2).replace(/[\\:]/g, "\\$&")
      );
      return { PGPASSFILE: file("pgpass", "pgpass", `${entry.join(":")}
`) };
    }
    case "mysql": {
      const text = optionFile(shown, secrets["password"] ?? "", ca);
      return { HALLPASS_MYSQL_FILE: file("mysql", "my.cnf", text) };
    }
    case "postgres-cert": {
      const pem = (secrets["key"] ?? "").match(/.{1,64}/g) ?? [];
      const key = `-----BEGIN PRIVATE KEY-----
${pem.join("\n")}
-----END PRIVATE KEY-----
`;
      const text = `${String(shown["certificate"]).trimEnd()}
`;
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
      file("certificate", "id_ed25519-cert.pub", `${secrets["certificate"]}
`);
      const key = file("private_key", "id_ed25519", secrets["private_key"] ?? "");
      return { HALLPASS_SSH_KEY_FILE: key };
    }
    case "webhook": {
      const texts = { password: secrets["password"] ?? "", ...credential2.chosenSecrets };
      const written = Object.entries(texts).map(([name, text]) => {
        const variable = name === "password" ? "HALLPASS_PASSWORD" : chosenName(name);
        return [`${variable}_FILE`, file(name, `login-${name}`, text)];
      });
      return Object.fromEntries(written);
    }
  }
}
function variables(credential2, writeAuthorities) {
  const { shown, secrets } = credential2;
  const text = (name) => String(shown[name] ?? "");
  switch (credential2.kind) {
    case "jwt":
      return { shown: {}, secret: { HALLPASS_TOKEN: secrets["token"] ?? "" } };
    case "ssh":
      return {
        shown: { HALLPASS_SERIAL: text("serial") },
        secret: {
          HALLPASS_CERTIFICATE: secrets["certificate"] ?? "",
          HALLPASS_PRIVATE_KEY: secrets["private_key"] ?? ""
        }
      };
    case "mysql": {
      const file = authorities(shown["ca"], text("ssl_mode"), writeAuthorities);
      const password = secrets["password"] ?? "";
      mask(encoded(password));
      const parameters = file === void 0 ? "" : `&ssl-ca=${encoded(file)}`;
      const address = `${login(shown, password)}/${encoded(text("database"))}`;
      return {
        shown: {
          MYSQL_HOST: text("host"),
          MYSQL_TCP_PORT: text("port"),
          MYSQL_DATABASE: text("database"),
          MYSQL_USER: text("username"),
          MYSQL_SSL_MODE: text("ssl_mode"),
          ...file === void 0 ? {} : { MYSQL_SSL_CA: file }
        },
        secret: {
          MYSQL_PASSWORD: password,
          DATABASE_URL: `mysql://${address}?ssl-mode=${text("ssl_mode")}${parameters}`
        }
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
          ...file === void 0 ? {} : { REDIS_CA_FILE: file }
        },
        secret: {
          REDIS_PASSWORD: password,
          REDISCLI_AUTH: password,
          REDIS_URL: `${scheme}://${login(shown, password)}`
        }
      };
    }
    case "webhook": {
      const named = (texts) => Object.fromEntries(Object.entries(texts).map(([name, value]) => [chosenName(name), value]));
      return {
        shown: { HALLPASS_USERNAME: text("username"), ...named(credential2.chosen) },
        secret: { HALLPASS_PASSWORD: secrets["password"] ?? "", ...named(credential2.chosenSecrets) }
      };
    }
    case "postgres-cert": {
      const file = authorities(shown["ca"], text("sslmode"), writeAuthorities);
      return {
        shown: libpq(text, file),
        secret: { HALLPASS_KEY: secrets["key"] ?? "" }
      };
    }
    case "postgres": {
      const file = authorities(shown["ca"], text("sslmode"), writeAuthorities);
      const password = secrets["password"] ?? "";
      mask(encoded(password));
      return {
        shown: {
          ...libpq(text, file),
          ...shown["options"] === void 0 ? {} : { PGOPTIONS: text("options") }
        },
        secret: { PGPASSWORD: password, DATABASE_URL: url(shown, password, file) }
      };
    }
  }
}
function chosenName(name) {
  return `HALLPASS_LOGIN_${name.toUpperCase()}`;
}
function libpq(text, ca) {
  return {
    PGHOST: text("host"),
    PGPORT: text("port"),
    PGDATABASE: text("database"),
    PGUSER: text("username"),
    PGSSLMODE: text("sslmode"),
    ...ca === void 0 ? {} : { PGSSLROOTCERT: ca }
  };
}
function authorities(own, mode, writeAuthorities) {
  const text = own ?? roots(mode);
  return text === void 0 ? void 0 : writeAuthorities(String(text));
}
function roots(mode) {
  if (!["verify-full", "verify-ca", "VERIFY_IDENTITY", "VERIFY_CA"].includes(mode)) {
    return void 0;
  }
  const own = getCACertificates("system");
  const usual2 = own.length > 0 ? own : getCACertificates("bundled");
  return [...usual2, ...getCACertificates("extra"), ""].join("\n");
}
function url(shown, password, ca) {
  const text = (name) => encoded(String(shown[name]));
  const options = shown["options"] === void 0 ? "" : `&options=${text("options")}`;
  const file = ca === void 0 ? "" : `&sslrootcert=${encoded(ca)}`;
  return `postgresql://${login(shown, password)}/${text("database")}?sslmode=${text("sslmode")}${file}${options}`;
}
function login(shown, password) {
  const host = String(shown["host"]);
  const isAddress = /^[\da-f:.]*:[\da-f:.]*$/i.test(host);
  const user = `${encoded(String(shown["username"]))}:${encoded(password)}`;
  return `${user}@${isAddress ? `[${host}]` : encoded(host)}:${shown["port"]}`;
}
function optionFile(shown, password, ca) {
  const text = (name) => String(shown[name]);
  const client = [
    ["host", text("host")],
    ["port", text("port")],
    ["user", text("username")],
    ["password", password],
    ["loose-ssl-mode", text("ssl_mode")],
    ...ca === void 0 ? [] : [["ssl-ca", ca]]
  ].map(([name, value]) => `${name}=${option(value ?? "")}`);
  const tls = text("ssl_mode") === "VERIFY_IDENTITY" ? ["ssl", "ssl-verify-server-cert"] : ["skip-ssl"];
  const database = `database=${option(text("database"))}`;
  return ["[client]", ...client, "[client-mariadb]", ...tls, "[mysql]", database, ""].join("\n");
}
function option(value) {
  const quote = ['"', "'"].find((one) => !value.includes(one));
  if (quote === void 0) {
    throw new Failure("a value with both kinds of quotes cannot be written to an option file; use `format: url`");
  }
  return `${quote}${value.replaceAll("\\", "\\\\")}${quote}`;
}
function encoded(text) {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`
  );
}
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// src/address.ts
function brokerAddress(text) {
  const wrong = (problem, shown = plain(text)) => new Failure(
    `input \`broker\` is \`${shown}\`, which ${problem}; expected an address like \`https://hallpass.example\``
  );
  if (!URL.canParse(text)) {
    throw wrong("is not an address");
  }
  const url2 = new URL(text);
  if (url2.username !== "" || url2.password !== "") {
    throw wrong("holds a user or a password", "...@...");
  }
  if (!isPrivate(url2)) {
    throw wrong(url2.protocol === "http:" ? "is plain http to another machine" : "is not https");
  }
  if (/[?#]/.test(text) || !/^[!-~]+$/.test(text)) {
    throw wrong("has a query, a fragment or characters that need encoding");
  }
  return text.replace(/\/+$/, "");
}
function isPrivate(url2) {
  const isThisMachine = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url2.hostname);
  return url2.protocol === "https:" || url2.protocol === "http:" && isThisMachine;
}

// src/inputs.ts
function readInputs() {
  const inputs = {
    broker: brokerAddress(required("broker", "an address like `https://hallpass.example`")),
    asks: asks(required("credentials", "the name of a credential like `shop-db/read`")),
    ttl: getInput("ttl") || void 0,
    scopes: getInput("scopes").split(/[\s,]+/).filter((scope) => scope !== ""),
    format: format(getInput("format") || "default"),
    exportEnv: flag("export-env", false),
    failOnDenied: flag("fail-on-denied", true),
    sealTo: recipient(getInput("seal-to"))
  };
  if (inputs.sealTo !== void 0 && (inputs.exportEnv || inputs.format !== "default")) {
    throw new Failure("with `seal-to` this job gets no secret; leave out `export-env` and `format`");
  }
  return inputs;
}
function required(name, expected) {
  const text = getInput(name);
  if (text === "") {
    throw new Failure(`input \`${name}\` is empty; expected ${expected}`);
  }
  return text;
}
function flag(name, usual2) {
  const text = getInput(name);
  if (text === "") {
    return usual2;
  }
  const lower = text.toLowerCase();
  if (lower !== "true" && lower !== "false") {
    throw new Failure(`input \`${name}\` is \`${plain(text)}\`; expected \`true\` or \`false\``);
  }
  return lower === "true";
}
function asks(text) {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const found = lines.filter((line) => line !== "").map(ask);
  if (found.length === 0) {
    throw new Failure("input `credentials` names no credential; expected one like `shop-db/read`");
  }
  if (found.length > 1 && found.some((one) => one.prefix === void 0)) {
    throw new Failure(
      "several `credentials` need a prefix each, like `SHOP=shop-db/read` and `AUDIT=audit-db/read`"
    );
  }
  for (const key of ["prefix", "credential"]) {
    const names = found.map((one) => one[key]?.toUpperCase());
    const twice = names.find((name, index) => name !== void 0 && names.indexOf(name) !== index);
    if (twice !== void 0) {
      throw new Failure(`input \`credentials\` has the ${key} \`${plain(twice)}\` twice`);
    }
  }
  return found;
}
function ask(line) {
  const [before, after] = line.includes("=") ? line.split(/=(.*)/) : [void 0, line];
  const prefix = before?.replace(/_+$/, "");
  const credential2 = after ?? "";
  if (!/^[!-~]{1,128}$/.test(credential2)) {
    throw new Failure(
      `\`${plain(credential2)}\` cannot be the name of a credential; expected one like \`shop-db/read\``
    );
  }
  if (prefix !== void 0 && !/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(prefix)) {
    throw new Failure(
      `\`${plain(prefix)}\` cannot be a prefix; expected letters, digits and \`_\`, like \`SHOP\``
    );
  }
  if (prefix !== void 0 && /^(GITHUB|RUNNER|ACTIONS|INPUT|STATE)(_|$)/i.test(prefix)) {
    throw new Failure(`prefix \`${prefix}\` is reserved for the runner; use another one, like \`SHOP\``);
  }
  return { credential: credential2, prefix };
}
function format(text) {
  const known = FORMATS.find((name) => name === text);
  if (known === void 0) {
    throw new Failure(`input \`format\` is \`${plain(text)}\`; expected one of ${FORMATS.join(", ")}`);
  }
  return known;
}

// src/sshkey.ts
import { generateKeyPairSync, randomBytes as randomBytes2 } from "node:crypto";
function newKeyPair() {
  const jwk = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const [publicKey, seed] = [jwk.x, jwk.d].map((part) => Buffer.from(part ?? "", "base64url"));
  const blob = Buffer.concat([field("ssh-ed25519"), field(publicKey)]);
  const check = randomBytes2(4);
  const secret = Buffer.concat([
    check,
    check,
    blob,
    field(Buffer.concat([seed ?? Buffer.alloc(0), publicKey ?? Buffer.alloc(0)])),
    field("")
  ]);
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7]).subarray(0, -secret.length & 7);
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    Buffer.from([0, 0, 0, 1]),
    field(blob),
    field(Buffer.concat([secret, padding]))
  ]);
  const lines = file.toString("base64").match(/.{1,70}/g) ?? [];
  const frame = (word) => `-----${word} OPENSSH PRIVATE KEY-----`;
  return {
    publicLine: `ssh-ed25519 ${blob.toString("base64")}`,
    privateText: [frame("BEGIN"), ...lines, frame("END"), ""].join("\n")
  };
}
function field(value) {
  const bytes = Buffer.from(value ?? "");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

// src/state.ts
function save(state) {
  saveState(NAME, JSON.stringify(state));
}
var NAME = "hallpass";

// src/summary.ts
async function summarize(granted, denied) {
  if (!process.env["GITHUB_STEP_SUMMARY"] || granted.length + denied.length === 0) {
    return;
  }
  await summary.addRaw(page(granted, denied), true).write();
}
function page(granted, denied) {
  const parts = ["<h3>hallpass</h3>"];
  if (granted.length > 0) {
    const head = row("th", ["Credential", "Kind", "Policy", "Policies revision", "Until"]);
    const rows = granted.map(
      (one) => row("td", [one.name, one.kind, one.policy, one.revision, one.expiresAt], one.policyUrl)
    );
    parts.push(`<table>${head}${rows.join("")}</table>`);
  }
  for (const { credential: credential2, refused } of denied) {
    parts.push(`<p>Denied: <code>${html(plain(credential2))}</code></p>`);
    parts.push(`<pre>${html(refused.text)}</pre>`);
  }
  return parts.join("\n");
}
function row(tag, cells, policyUrl) {
  const shown = cells.map((cell) => html(plain(cell)));
  if (policyUrl !== void 0) {
    shown[2] = `<a href="${html(policyUrl)}">${shown[2]}</a>`;
  }
  return `<tr>${shown.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
}

// src/token.ts
async function idToken(broker, deadline) {
  const address = process.env["ACTIONS_ID_TOKEN_REQUEST_URL"];
  const bearer = process.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
  if (!address || !bearer) {
    throw new Failure(MISSING);
  }
  if (!URL.canParse(address) || !isPrivate(new URL(address))) {
    throw new Failure("ACTIONS_ID_TOKEN_REQUEST_URL is not an https address; the runner should set it");
  }
  mask(bearer);
  const url2 = new URL(address);
  url2.searchParams.append("audience", broker);
  const answer = await send(
    { who: WHO2, url: url2.href, method: "GET", headers: { authorization: `Bearer ${bearer}` } },
    deadline
  );
  const token = answer.body?.["value"];
  if (answer.status !== 200 || typeof token !== "string" || !/^[\w-]+(\.[\w-]+){2}$/.test(token)) {
    throw new Failure(`${WHO2} gave no token, its status is ${answer.status}; ${MISSING}`);
  }
  mask(token);
  const audiences = [audience(token)].flat();
  if (audiences.length === 0 || audiences.some((one) => one !== broker)) {
    throw new Failure(`${WHO2} gave a token for \`${plain(audiences)}\`, expected \`${broker}\``);
  }
  return token;
}
function audience(token) {
  try {
    const payload = Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8");
    return JSON.parse(payload).aud;
  } catch {
    return void 0;
  }
}
var WHO2 = "GitHub's token service";
var MISSING = `is \`id-token: write\` missing? Add to the job:

  permissions:
    id-token: write
    contents: read

(a pull request from a fork gets no token)`;

// src/main.ts
async function run() {
  const inputs = readInputs();
  const folder = new Folder();
  const state = { broker: inputs.broker, folder: folder.path, leases: [] };
  save(state);
  await checkName(inputs.broker, within(PATIENCE));
  const token = await idToken(inputs.broker, within(PATIENCE));
  const offers = await kinds(inputs.broker, token, within(PATIENCE));
  const granted = [];
  const denied = [];
  const shown = {};
  try {
    for (const ask2 of inputs.asks) {
      try {
        const isSsh = offers.get(ask2.credential) === "ssh";
        const [one, output] = await obtain(ask2, inputs, token, isSsh, folder, state);
        granted.push(one);
        shown[one.name] = output;
      } catch (error2) {
        if (!(error2 instanceof Refused)) {
          throw error2;
        }
        denied.push({ credential: ask2.credential, refused: error2 });
        const report = inputs.failOnDenied || !error2.isDenial ? fail : warning;
        const verb = error2.isDenial ? "denied" : "not available";
        const why = error2.text.replace(/^access denied: /, "");
        report(`\`${ask2.credential}\` is ${verb}: ${why}`, { title: "hallpass" });
      }
    }
  } finally {
    setOutput("credentials", JSON.stringify(shown));
    const handles = state.leases.filter((one) => one.isShared !== true).map(({ handle }) => `${handle}
`);
    setOutput("leases", folder.write("leases", handles.join("")));
    await summarize(granted, denied);
  }
}
async function obtain(ask2, inputs, token, isSsh, folder, state) {
  const { sealTo } = inputs;
  if (isSsh && sealTo !== void 0) {
    throw new Failure(
      `\`${ask2.credential}\` is an SSH certificate, which needs the recipient's own SSH key; use \`hallpass get --seal-to\` with \`--input public_key=...\``
    );
  }
  const pair = isSsh ? newKeyPair() : void 0;
  const wanted = {
    credential: ask2.credential,
    ...inputs.ttl === void 0 ? {} : { ttl: inputs.ttl },
    ...inputs.scopes.length === 0 ? {} : { scopes: inputs.scopes },
    ...pair === void 0 ? {} : { inputs: { public_key: pair.publicLine } },
    ...sealTo === void 0 ? {} : { response_encryption_jwk: sealTo }
  };
  const answer = await exchange(inputs.broker, token, wanted, within(PATIENCE));
  const handle = lease(answer);
  if (handle !== void 0) {
    const expiresAt = String(answer.body?.["expires_at"]);
    const shared = isShared(answer) && sealTo === void 0 ? { isShared: true } : {};
    state.leases.push({ credential: ask2.credential, handle, expiresAt, ...shared });
    save(state);
  }
  const one = credential(answer, ask2.credential, sealTo);
  if (pair !== void 0) {
    mask(pair.privateText);
    one.secrets["private_key"] = pair.privateText;
  }
  await masked();
  const written = write(one, ask2, inputs.format, folder);
  warnOfRivals(Object.keys(written.shown), inputs.exportEnv);
  for (const [name, value] of Object.entries(written.shown)) {
    exportVariable(name, value);
  }
  for (const [name, value] of Object.entries(inputs.exportEnv ? written.secret : {})) {
    exportVariable(name, value);
  }
  if (one.sealed !== void 0) {
    state.leases.filter((lease2) => lease2.handle === handle).forEach((lease2) => lease2.outlivesJob = true);
    save(state);
  }
  info(`hallpass: \`${plain(one.name)}\` until ${one.expiresAt}, by policy \`${plain(one.policy)}\``);
  const output = {
    kind: one.kind,
    ...one.shown,
    ...one.sealed === void 0 ? {} : { sealed: one.sealed },
    expires_at: one.expiresAt,
    policy: one.policy,
    ...one.policyUrl === void 0 ? {} : { policy_url: one.policyUrl },
    policies_revision: one.revision,
    decision: one.decision,
    files: written.files
  };
  return [one, output];
}
function warnOfRivals(names, exportsSecrets) {
  if (!names.includes("PGHOST")) {
    return;
  }
  const rivals = ["PGHOSTADDR", "PGSERVICE", ...exportsSecrets ? [] : ["PGPASSWORD"]];
  for (const name of rivals.filter((one) => process.env[one])) {
    warning(`${name} is set in this job and wins over the login's own; unset it`, {
      title: "hallpass"
    });
  }
}
function fail(text, properties) {
  error(text, properties);
  process.exitCode = ExitCode.Failure;
}
var PATIENCE = 6e4;
try {
  await run();
} catch (error2) {
  const isKnown = error2 instanceof Failure || error2 instanceof Refused;
  const text = error2 instanceof Refused ? error2.text : String(error2?.message);
  fail(isKnown ? text : `unexpected error of the action: ${error2?.name}`, {
    title: "hallpass"
  });
}
/* @actions/core:
The MIT License (MIT)

Copyright 2019 GitHub

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
*/
