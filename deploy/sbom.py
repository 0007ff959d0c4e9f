#!/usr/bin/env python3
"""Prints the SBOM of a release, in CycloneDX 1.6: the crates that are built into the binary.

Usage: deploy/sbom.py TARGET VERSION

Reads `cargo metadata` for that target, without the default features, and leaves out what only tests and
build scripts need. SOURCE_DATE_EPOCH is its time.
"""

import json
import os
import subprocess
import sys
import uuid
from datetime import datetime, timezone

target, version = sys.argv[1:]
metadata = json.loads(
    subprocess.run(
        [
            os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1",
            "--no-default-features", "--filter-platform", target,
        ],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
checksums = {}
name = number = None
with open("Cargo.lock", encoding="utf-8") as lock:
    for line in lock:
        key, _, value = line.strip().partition(" = ")
        if key == "name":
            name = value.strip('"')
        elif key == "version":
            number = value.strip('"')
        elif key == "checksum":
            checksums[name, number] = value.strip('"')

root = next(id for id, package in packages.items() if package["name"] == "hallpass")
edges = {}
left = [root]
while left:
    one = left.pop()
    if one in edges:
        continue
    # `kind` is null for what is linked, `build` and `dev` for the rest.
    edges[one] = sorted(
        dependency["pkg"]
        for dependency in nodes[one]["deps"]
        if any(kind["kind"] is None for kind in dependency["dep_kinds"])
    )
    left.extend(edges[one])


def purl(id):
    package = packages[id]
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(id):
    package = packages[id]
    found = {
        "type": "application" if id == root else "library",
        "bom-ref": purl(id),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(id),
    }
    if package["license"]:
        # Old crates write a slash for `OR`.
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


time = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
ids = sorted(edges, key=purl)
bom = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'hallpass/{version}/{target}/{time}')}",
    "version": 1,
    "metadata": {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "component": component(root),
        "properties": [{"name": "hallpass:target", "value": target}],
    },
    "components": [component(id) for id in ids if id != root],
    "dependencies": [{"ref": purl(id), "dependsOn": [purl(on) for on in edges[id]]} for id in ids],
}
json.dump(bom, sys.stdout, indent=1)
print()
