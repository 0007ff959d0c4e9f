// An Ed25519 key pair in the file formats of OpenSSH.
import { generateKeyPairSync, randomBytes } from "node:crypto";

export interface KeyPair {
  /** The line of a `.pub` file. */
  publicLine: string;
  /** The text of a private key file without a passphrase. */
  privateText: string;
}

export function newKeyPair(): KeyPair {
  const jwk = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const [publicKey, seed] = [jwk.x, jwk.d].map((part) => Buffer.from(part ?? "", "base64url"));
  const blob = Buffer.concat([field("ssh-ed25519"), field(publicKey)]);
  const check = randomBytes(4);
  // PROTOCOL.key of OpenSSH: both halves, no comment, padded to blocks of 8 bytes.
  const secret = Buffer.concat([
    check,
    check,
    blob,
    field(Buffer.concat([seed ?? Buffer.alloc(0), publicKey ?? Buffer.alloc(0)])),
    field(""),
  ]);
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7]).subarray(0, -secret.length & 7);
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    Buffer.from([0, 0, 0, 1]),
    field(blob),
    field(Buffer.concat([secret, padding])),
  ]);
  const lines = file.toString("base64").match(/.{1,70}/g) ?? [];
  const frame = (word: string) => `-----${word} OPENSSH PRIVATE KEY-----`;
  return {
    publicLine: `ssh-ed25519 ${blob.toString("base64")}`,
    privateText: [frame("BEGIN"), ...lines, frame("END"), ""].join("\n"),
  };
}

function field(value: string | Buffer | undefined): Buffer {
  const bytes = Buffer.from(value ?? "");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
