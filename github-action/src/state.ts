// What the main step leaves for the post step.
import * as core from "@actions/core";

export interface State {
  broker: string;
  folder: string;
  leases: Lease[];
}

export interface Lease {
  credential: string;
  handle: string;
  expiresAt: string;
  /** It was sealed to a recipient outside the job, and ends at its own time. */
  outlivesJob?: true;
  /** Other tokens of the subject have the same login. */
  isShared?: true;
}

/** Saved again whenever something is added: the last entry counts, also if the step ends early. */
export function save(state: State): void {
  core.saveState(NAME, JSON.stringify(state));
}

export function load(): State | undefined {
  const text = core.getState(NAME);
  return text === "" ? undefined : (JSON.parse(text) as State);
}

const NAME = "hallpass";
