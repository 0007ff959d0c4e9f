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

// node_modules/@actions/core/lib/core.js
import * as os3 from "os";

// node_modules/@actions/core/lib/summary.js
import { EOL as EOL2 } from "os";
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
    return this.addRaw(EOL2);
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
    const tableBody = rows.map((row) => {
      const cells = row.map((cell) => {
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

// node_modules/@actions/core/lib/platform.js
import os2 from "os";
var platform = os2.platform();
var arch = os2.arch();

// node_modules/@actions/core/lib/core.js
var ExitCode;
(function(ExitCode2) {
  ExitCode2[ExitCode2["Success"] = 0] = "Success";
  ExitCode2[ExitCode2["Failure"] = 1] = "Failure";
})(ExitCode || (ExitCode = {}));
function setSecret(secret) {
  issueCommand("add-mask", {}, secret);
}
function warning(message, properties = {}) {
  issueCommand("warning", toCommandProperties(properties), message instanceof Error ? message.toString() : message);
}
function info(message) {
  process.stdout.write(message + os3.EOL);
}
function getState(name) {
  return process.env[`STATE_${name}`] || "";
}

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
var HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;

// src/address.ts
function brokerAddress(text) {
  const wrong = (problem, shown = plain(text)) => new Failure(
    `input \`broker\` is \`${shown}\`, which ${problem}; expected an address like \`https://hallpass.example\``
  );
  if (!URL.canParse(text)) {
    throw wrong("is not an address");
  }
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") {
    throw wrong("holds a user or a password", "...@...");
  }
  if (!isPrivate(url)) {
    throw wrong(url.protocol === "http:" ? "is plain http to another machine" : "is not https");
  }
  if (/[?#]/.test(text) || !/^[!-~]+$/.test(text)) {
    throw wrong("has a query, a fragment or characters that need encoding");
  }
  return text.replace(/\/+$/, "");
}
function isPrivate(url) {
  const isThisMachine = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  return url.protocol === "https:" || url.protocol === "http:" && isThisMachine;
}

// src/http.ts
import * as http from "node:http";
import * as https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
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
  } catch (error) {
    if (error instanceof Failure) {
      throw error;
    }
    const problem = `${request.who} cannot be reached: ${code(error)}`;
    if (/wrong.version.number|packet.length.too.long/i.test(`${problem} ${error}`)) {
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
function code(error) {
  const cause = error instanceof Error && error.cause !== void 0 ? error.cause : error;
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
async function revoke(broker, handle, deadline) {
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const body = new URLSearchParams({ token: handle }).toString();
  const url = `${broker}/revoke`;
  const answer = accepted(await send({ who: WHO, url, method: "POST", headers, body }, deadline));
  return plain(answer.body?.["lease"] ?? "gone", 20);
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

// src/files.ts
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
function remove(path) {
  const temporary = process.env["RUNNER_TEMP"];
  if (temporary && basename(path).startsWith(PREFIX) && dirname(path) === real(temporary)) {
    rmSync(path, { recursive: true, force: true });
  }
}
function real(path) {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
var PREFIX = "hallpass-";

// src/mask.ts
function mask(secret) {
  for (const line of new Set(secret.split(/\r\n|\r|\n/))) {
    if (line.trim() !== "") {
      setSecret(line);
    }
  }
}

// src/state.ts
function load() {
  const text = getState(NAME);
  return text === "" ? void 0 : JSON.parse(text);
}
var NAME = "hallpass";

// src/post.ts
var PATIENCE = 2e4;
var state = load();
if (state !== void 0) {
  const { broker } = state;
  const leases = state.leases.filter((lease) => lease.outlivesJob !== true);
  await Promise.all(leases.map((lease) => end(broker, lease)));
  remove(state.folder);
}
async function end(broker, { credential, handle, expiresAt, isShared }) {
  mask(handle);
  if (isShared === true) {
    const until = plain(expiresAt, 40);
    info(
      `hallpass: the lease of \`${credential}\` is not revoked, because other tokens of this subject have the same login; it ends at ${until}`
    );
    return;
  }
  try {
    const became = await revoke(brokerAddress(broker), handle, within(PATIENCE));
    info(`hallpass: the lease of \`${credential}\` is ${became}`);
  } catch (error) {
    const why = plain(error?.message);
    warning(
      `the lease of \`${credential}\` was not revoked and ends at ${plain(expiresAt, 40)}: ${why}`,
      { title: "hallpass" }
    );
  }
}
/* @actions/core:
The MIT License (MIT)

Copyright 2019 GitHub

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
*/
