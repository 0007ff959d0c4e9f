// Secrets that the runner must replace in the log.
import * as core from "@actions/core";

/** Masks each line: the log is searched line by line. */
export function mask(secret: string): void {
  for (const line of new Set(secret.split(/\r\n|\r|\n/))) {
    if (line.trim() !== "") {
      core.setSecret(line);
    }
  }
}
