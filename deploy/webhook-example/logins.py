#!/usr/bin/env python3
"""The other side of a hallpass target of kind `webhook`: users of a small application, in SQLite.

The contract is docs/databases/webhook.md. To make logins of something else, replace `make_user` and
`drop_user`; the rest can stay. Needs PyJWT and cryptography (Debian: python3-jwt, python3-cryptography).
"""

import base64
import hashlib
import hmac
import json
import os
import re
import sqlite3
import ssl
import threading
import time
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

URL = os.environ["WEBHOOK_URL"]  # `url` of the target, such as https://logins.acme.dev/hallpass
ISSUER = os.environ["HALLPASS_ISSUER"]  # `issuer` of the broker
KEYS = os.environ.get("HALLPASS_KEYS", ISSUER + "/.well-known/jwks.json")
GROUPS = os.environ["WEBHOOK_GROUPS"].split(",")
FILE = os.environ["WEBHOOK_DATABASE"]
ORIGIN = "/".join(URL.split("/")[:3])
NAME = re.compile(r"hp_([0-9a-v]{7})_([0-9a-v]{13})")
LONGEST_LIFE, CLOCKS_DIFFER, LONGEST_BODY = 3600, 60, 64 * 1024


class Refusal(Exception):
    """Nothing was done."""

    def __init__(self, status, error):
        super().__init__(error)
        self.status, self.error = status, error


def make_user(db, name, group, password):
    # The password has 192 random bits, so a hash without salt is enough.
    hashed = hashlib.sha256(password.encode()).hexdigest()
    db.execute("INSERT INTO users VALUES (?, ?, ?)", (name, group, hashed))


def drop_user(db, name):
    db.execute("DELETE FROM users WHERE name = ?", (name,))


class KeySet:
    """The broker's keys. Anyone can name a key, so they are fetched once a minute at most, and kept if that fails."""

    keys, fetched, lock = {}, 0, threading.Lock()

    def find(self, name):
        with self.lock:
            age = time.monotonic() - self.fetched
            if not self.keys or age > 300 or (name not in self.keys and age > 60):
                try:
                    with urllib.request.urlopen(KEYS, timeout=5) as answer:
                        found = jwt.PyJWKSet.from_json(answer.read(64 * 1024).decode())
                    self.keys = {key.key_id: key.key for key in found.keys}
                    self.fetched = time.monotonic()
                except Exception:
                    self.fetched = time.monotonic() - 240
                    if not self.keys:
                        raise Refusal(503, "busy") from None
            return self.keys[name]


KEY_SET = KeySet()


def verify(authorization, url, body):
    """Only the broker has made this request: for this URL, with this body, within the last minute."""
    try:
        token = authorization.removeprefix("Bearer ")
        claims = jwt.decode(
            token,
            KEY_SET.find(jwt.get_unverified_header(token)["kid"]),
            algorithms=["ES256", "EdDSA"],
            issuer=ISSUER,
            audience=url,
            leeway=30,
            options={"require": ["iss", "aud", "iat", "exp"]},
        )
        # Tokens for jobs are signed with the same keys and have another type.
        is_ours = jwt.get_unverified_header(token)["typ"] == "hallpass-webhook+jwt"
        is_short = claims["exp"] - claims["iat"] <= 60
        is_whole = hmac.compare_digest(claims["body_sha256"], hashlib.sha256(body).hexdigest())
    except Refusal:
        raise
    except Exception:
        raise Refusal(401, "token") from None
    if not (is_ours and is_short and is_whole):
        raise Refusal(401, "token")


def parts(name):
    found = NAME.fullmatch(name)
    if not found:
        raise Refusal(400, "form")
    return int(found[1], 32), found[2]


def create(db, ask):
    (ends, lease), now = parts(ask["name"]), time.time()
    if lease != ask["id"]:
        raise Refusal(400, "form")
    db.execute("DELETE FROM leases WHERE ended AND keep_until < ?", (now,))
    query = "SELECT name, groupname, record FROM leases WHERE id = ? AND NOT ended"
    found = db.execute(query, (lease,)).fetchone()
    created = found is None
    if created:
        if not ask["may_create"] or db.execute("SELECT 1 FROM leases WHERE id = ?", (lease,)).fetchone():
            raise Refusal(410, "ended")
        if ends + CLOCKS_DIFFER <= now:  # a request that came late
            raise Refusal(410, "ended")
        if ask["group"] not in GROUPS:
            raise Refusal(422, "group")
        if ends > now + LONGEST_LIFE + CLOCKS_DIFFER:
            raise Refusal(422, "ceiling")
        found = (ask["name"], ask["group"], ask["record"])
        row = (lease, *found, ask["holder"], max(ask["remember_until"], ends) + 120)
        db.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, 0)", row)
        make_user(db, ask["name"], ask["group"], ask["password"])
    name, group, record = found
    basic = base64.b64encode(f"{name}:{ask['password']}".encode()).decode()
    answer = {"created": created, "name": name, "group": group, "record": record}
    return answer | {"members": {"url": ORIGIN + "/whoami"}, "secrets": {"basic": basic}}


def end(db, ask):
    ends, lease = parts(ask["name"])
    drop_user(db, ask["name"])
    # Also one that was never made: the request to make it may still be on its way.
    row = (lease, ask["name"], "", "", "", max(ends, time.time()) + LONGEST_LIFE)
    db.execute(
        "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, 1)"
        " ON CONFLICT (id) DO UPDATE SET ended = 1 WHERE name = excluded.name",
        row,
    )
    return {"ended": True}


def list_leases(db, ask):
    query = (
        "SELECT name, groupname, record, holder FROM leases"
        " WHERE NOT ended AND name > ? AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?"
    )
    rows = db.execute(query, (ask["after"], ask["prefix"], ask["prefix"], ask["limit"]))
    return {"leases": [dict(zip(("name", "group", "record", "holder"), row)) for row in rows]}


def check(_db, _ask):
    return {"contract": 1, "time": int(time.time()), "groups": GROUPS}


OPERATIONS = {URL + "/create": create, URL + "/end": end, URL + "/list": list_leases, URL + "/check": check}


def connect():
    db = sqlite3.connect(FILE, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 2000")
    return db


class Handler(BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self):
        try:
            length = int(self.headers["Content-Length"])
            if not 0 <= length <= LONGEST_BODY:
                raise Refusal(413, "form")
            body = self.rfile.read(length)
            url = ORIGIN + self.path
            if url not in OPERATIONS:  # before it is an audience
                raise Refusal(404, "form")
            verify(self.headers["Authorization"], url, body)
            with closing(connect()) as db, db:
                db.execute("BEGIN IMMEDIATE")
                answer = OPERATIONS[url](db, json.loads(body))
            self.answer(200, answer)
        except Refusal as refusal:
            self.answer(refusal.status, {"error": refusal.error})
        except (KeyError, TypeError, ValueError):
            self.answer(400, {"error": "form"})
        except sqlite3.OperationalError:
            # The transaction was rolled back.
            self.answer(503, {"error": "busy"})

    def do_GET(self):
        """The application: it says who its user is, until the second that is in the name."""
        try:
            text = self.headers["Authorization"].removeprefix("Basic ")
            name, password = base64.b64decode(text).decode().split(":")
            hashed = hashlib.sha256(password.encode()).hexdigest()
            with closing(connect()) as db:
                query = "SELECT groupname FROM users WHERE name = ? AND hash = ?"
                (group,) = db.execute(query, (name, hashed)).fetchone()
            is_live = parts(name)[0] > time.time()
        except Exception:
            is_live = False
        self.answer(200, {"name": name, "group": group}) if is_live else self.answer(401, {})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    with closing(connect()) as db:
        db.execute("CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, groupname TEXT, hash TEXT)")
        db.execute(
            "CREATE TABLE IF NOT EXISTS leases (id TEXT PRIMARY KEY, name TEXT, groupname TEXT,"
            " record TEXT, holder TEXT, keep_until INTEGER, ended INTEGER)"
        )
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8443"))), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    if "TLS_CLIENT_CA" in os.environ:  # mutual TLS: only who has a certificate of this CA
        context.load_verify_locations(os.environ["TLS_CLIENT_CA"])
        context.verify_mode = ssl.CERT_REQUIRED
    # The handshake is for the thread of a connection, so that none holds up the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
