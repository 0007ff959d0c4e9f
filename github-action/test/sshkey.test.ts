import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { newKeyPair } from "../src/sshkey.ts";

test("ssh-keygen reads the private half and finds the public one in it", () => {
  const folder = mkdtempSync(join(tmpdir(), "hallpass-key-"));
  try {
    const { privateText, publicLine } = newKeyPair();
    const path = join(folder, "key");
    writeFileSync(path, privateText, { mode: 0o600 });
    const found = execFileSync("ssh-keygen", ["-y", "-f", path], { encoding: "utf8" });
    assert.equal(found.trim(), publicLine);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
