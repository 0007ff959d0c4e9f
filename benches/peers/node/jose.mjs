// Token exchange in its smallest form: one RS256 signature verified, one ES256 signature made.
//
// node jose.mjs PORT ISSUER AUDIENCE KEY_SET

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { SignJWT, createLocalJWKSet, generateKeyPair, jwtVerify } from "jose";

const [port, issuer, audience, keySet] = process.argv.slice(2);
const keys = createLocalJWKSet(JSON.parse(keySet));
const { privateKey } = await generateKeyPair("ES256");

async function exchange(body) {
  const form = new URLSearchParams(body);
  const token = form.get("subject_token");
  const { payload } = await jwtVerify(token, keys, { issuer, audience, algorithms: ["RS256"] });
  const { repository, repository_id, ref } = payload;
  const access_token = await new SignJWT({
    scope: "deploy:staging",
    act: { iss: payload.iss, sub: payload.sub },
    job: { repository, repository_id, ref },
  })
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt" })
    .setIssuer(audience)
    .setSubject("credential/deploy-api")
    .setAudience("https://deploy.acme.dev")
    .setIssuedAt()
    .setExpirationTime("5m")
    .setJti(randomUUID())
    .sign(privateKey);
  return {
    access_token,
    issued_token_type: "urn:ietf:params:oauth:token-type:jwt",
    token_type: "Bearer",
    expires_in: 300,
    scope: "deploy:staging",
  };
}

function send(response, status, value) {
  const text = JSON.stringify(value);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    exchange(Buffer.concat(parts).toString()).then(
      (answer) => send(response, 200, answer),
      (error) => send(response, 400, { error: "invalid_request", error_description: error.message }),
    );
  });
}).listen(Number(port), "127.0.0.1");
