"""Token exchange in its smallest form: one RS256 signature verified, one ES256 signature made.

python starlette_peer.py PORT ISSUER AUDIENCE KEY_SET
"""

import json
import sys
import time
import uuid
from urllib.parse import parse_qs

import uvicorn
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

PORT, ISSUER, AUDIENCE, KEY_SET = sys.argv[1:]
KEYS = KeySet.import_key_set(json.loads(KEY_SET))
OURS = ECKey.generate_key("P-256")
CLAIMS = jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
)


async def exchange(request):
    form = parse_qs((await request.body()).decode())
    try:
        token = jwt.decode(form["subject_token"][0], KEYS, algorithms=["RS256"])
        CLAIMS.validate(token.claims)
    except (KeyError, JoseError) as error:
        return JSONResponse({"error": "invalid_request", "error_description": str(error)}, 400)
    claims, now = token.claims, int(time.time())
    access_token = jwt.encode(
        {"alg": "ES256", "typ": "at+jwt"},
        {
            "iss": AUDIENCE,
            "sub": "credential/deploy-api",
            "aud": "https://deploy.acme.dev",
            "iat": now,
            "exp": now + 300,
            "jti": str(uuid.uuid4()),
            "scope": "deploy:staging",
            "act": {"iss": claims["iss"], "sub": claims["sub"]},
            "job": {name: claims[name] for name in ("repository", "repository_id", "ref")},
        },
        OURS,
        algorithms=["ES256"],
    )
    return JSONResponse(
        {
            "access_token": access_token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "deploy:staging",
        }
    )


app = Starlette(routes=[Route("/token", exchange, methods=["POST"])])
uvicorn.run(app, host="127.0.0.1", port=int(PORT), access_log=False, log_level="warning")
