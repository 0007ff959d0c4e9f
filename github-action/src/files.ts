// The private folder of one step, which the post step removes.
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { Failure } from "./text.ts";

export class Folder {
  readonly path: string;

  /** A new folder that only this user can enter, in `RUNNER_TEMP`. */
  constructor() {
    const temporary = process.env["RUNNER_TEMP"];
    if (!temporary) {
      throw new Failure("RUNNER_TEMP is not set; the runner should set it to a folder for temporary files");
    }
    const parent = realpathSync(temporary);
    const workspace = process.env["GITHUB_WORKSPACE"];
    if (workspace && `${parent}${sep}`.startsWith(`${real(workspace)}${sep}`)) {
      throw new Failure("RUNNER_TEMP is in the workspace, where files end in artifacts; set it to another folder");
    }
    this.path = mkdtempSync(join(parent, PREFIX));
  }

  /** A new file that only this user can read. */
  write(name: string, text: string): string {
    const path = join(this.path, name);
    writeFileSync(path, text, { mode: 0o600, flag: "wx" });
    return path;
  }
}

/** Removes a folder that a `Folder` made, and nothing else. */
export function remove(path: string): void {
  const temporary = process.env["RUNNER_TEMP"];
  if (temporary && basename(path).startsWith(PREFIX) && dirname(path) === real(temporary)) {
    rmSync(path, { recursive: true, force: true });
  }
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

const PREFIX = "hallpass-";
