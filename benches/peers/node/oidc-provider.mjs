// Token exchange with oidc-provider: a grant type of its own, whose access tokens are ES256 JWTs.
//
// node oidc-provider.mjs PORT ISSUER AUDIENCE KEY_SET

import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from "jose";
import { Provider, errors } from "oidc-provider";

const [port, issuer, audience, keySet] = process.argv.slice(2);
const keys = createLocalJWKSet(JSON.parse(keySet));
const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const grantType = "urn:ietf:params:oauth:grant-type:token-exchange";
const resource = "https://deploy.acme.dev";
const server = {
  scope: "deploy:staging",
  audience: resource,
  accessTokenTTL: 300,
  accessTokenFormat: "jwt",
  jwt: { sign: { alg: "ES256" } },
};

const provider = new Provider(audience, {
  clients: [
    {
      client_id: "bench",
      token_endpoint_auth_method: "none",
      id_token_signed_response_alg: "ES256",
      grant_types: [grantType],
      redirect_uris: [],
      response_types: [],
    },
  ],
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: "ES256", use: "sig" }] },
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, getResourceServerInfo: () => server },
  },
});

const parameters = ["subject_token", "subject_token_type", "audience"];
provider.registerGrantType(
  grantType,
  async (ctx) => {
    const { subject_token } = ctx.oidc.params;
    const { payload } = await jwtVerify(subject_token, keys, {
      issuer,
      audience,
      algorithms: ["RS256"],
    }).catch((error) => {
      throw new errors.InvalidRequest(error.message);
    });
    const token = new provider.ClientCredentials({
      client: ctx.oidc.client,
      scope: "deploy:staging",
      extra: { sub: payload.sub },
    });
    token.resourceServer = new provider.ResourceServer(resource, server);
    const access_token = await token.save();
    ctx.body = {
      access_token,
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      token_type: "Bearer",
      expires_in: token.expiration,
      scope: token.scope,
    };
  },
  parameters,
);

provider.listen(Number(port), "127.0.0.1");
