// The job's ID token: GitHub makes one for the broker's address, and it is sent nowhere else.
import { isPrivate } from "./address.ts";
import { type Deadline, send } from "./http.ts";
import { mask } from "./mask.ts";
import { Failure, plain } from "./text.ts";

export async function idToken(broker: string, deadline: Deadline): Promise<string> {
  const address = process.env["ACTIONS_ID_TOKEN_REQUEST_URL"];
  const bearer = process.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
  if (!address || !bearer) {
    throw new Failure(MISSING);
  }
  if (!URL.canParse(address) || !isPrivate(new URL(address))) {
    throw new Failure("ACTIONS_ID_TOKEN_REQUEST_URL is not an https address; the runner should set it");
  }
  mask(bearer);
  const url = new URL(address);
  url.searchParams.append("audience", broker);
  const answer = await send(
    { who: WHO, url: url.href, method: "GET", headers: { authorization: `Bearer ${bearer}` } },
    deadline,
  );
  const token = answer.body?.["value"];
  if (answer.status !== 200 || typeof token !== "string" || !/^[\w-]+(\.[\w-]+){2}$/.test(token)) {
    throw new Failure(`${WHO} gave no token, its status is ${answer.status}; ${MISSING}`);
  }
  mask(token);
  // A token that names another party too could be used there by the broker.
  const audiences = [audience(token)].flat();
  if (audiences.length === 0 || audiences.some((one) => one !== broker)) {
    throw new Failure(`${WHO} gave a token for \`${plain(audiences)}\`, expected \`${broker}\``);
  }
  return token;
}

function audience(token: string): unknown {
  try {
    const payload = Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8");
    return (JSON.parse(payload) as { aud?: unknown }).aud;
  } catch {
    return undefined;
  }
}

const WHO = "GitHub's token service";
const MISSING = `is \`id-token: write\` missing? Add to the job:

  permissions:
    id-token: write
    contents: read

(a pull request from a fork gets no token)`;
