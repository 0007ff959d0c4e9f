"""Makes messages.json with jwcrypto 1.6.1 of PyPI, for tests/it/sealed/jwcrypto.rs."""

import json

from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

NOW = 1_790_000_000
# RFC 7748 section 6.1, and RFC 7518 appendix C.
BOB = {
    "kty": "OKP", "crv": "X25519",
    "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
    "d": "XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os",
}
BOB_P256 = {
    "kty": "EC", "crv": "P-256",
    "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
    "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
    "d": "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
}

broker = JWK.generate(kty="EC", crv="P-256", kid="b1", use="sig", alg="ES256")
messages = []
for key in (BOB_P256, BOB):
    recipient = JWK(**key)
    thumbprint = recipient.thumbprint()
    claims = {
        "iss": "https://hallpass.example",
        "aud": "urn:ietf:params:oauth:jwk-thumbprint:sha-256:" + thumbprint,
        "iat": NOW, "exp": NOW + 300,
        "hallpass": {
            "credential": {"kind": "jwt", "name": "deploy-api", "token": "canary.of.jwcrypto"},
            "expires_at": "2026-09-21T14:18:20Z", "lease": None, "policy": "shop-deploy",
            "policies_revision": "sha256:00", "decision": "dec_1",
        },
    }
    signed = JWS(json.dumps(claims))
    signed.add_signature(broker, None, json.dumps({"alg": "ES256", "kid": "b1", "typ": "hallpass-sealed+jwt"}))
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT", "kid": thumbprint}
    sealed = JWE(signed.serialize(compact=True).encode(), json.dumps(header), recipient=recipient)
    messages.append({"key": key, "message": sealed.serialize(compact=True)})
keys = {"keys": [broker.export_public(as_dict=True)]}
print(json.dumps({"broker_keys": keys, "messages": messages}, indent=2))
