#!/usr/bin/env python3
"""Packs a folder into a tar.gz that is the same on every machine.

Usage: deploy/pack.py FOLDER ARCHIVE

Owner, order and header of gzip are fixed; SOURCE_DATE_EPOCH is the time of every file.
"""

import gzip
import os
import sys
import tarfile

folder, archive = sys.argv[1:]


def same(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


with open(archive, "wb") as file:
    with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            # `add` sorts the entries of a folder.
            tar.add(folder, os.path.basename(folder), filter=same)
