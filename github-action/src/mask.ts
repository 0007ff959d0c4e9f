// Secrets that the runner must replace in the log.
import * as core from "@actions/core";
import { Failure } from "./text.ts";

/** Masks each line: the log is searched line by line. */
export function mask(secret: string): void {
  for (const line of new Set(secret.split(/\r\n|\r|\n/))) {
    if (line.trim() !== "") {
      core.setSecret(line);
    }
  }
}

/** Waits until the runner has every mask so far. */
export async function masked(): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write("", (error) => {
      if (error) {
        reject(new Failure("the log cannot be written, so that no secret can be masked in it"));
      } else {
        resolve();
      }
    });
  });
}
