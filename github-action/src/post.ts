// The post step, which also runs after a failure and a cancel: revokes the job's leases and removes the files.
import * as core from "@actions/core";
import { brokerAddress } from "./address.ts";
import { revoke } from "./broker.ts";
import { remove } from "./files.ts";
import { within } from "./http.ts";
import { mask } from "./mask.ts";
import { type Lease, load } from "./state.ts";
import { plain } from "./text.ts";

const PATIENCE = 20_000;

const state = load();
if (state !== undefined) {
  const { broker } = state;
  const leases = state.leases.filter((lease) => lease.outlivesJob !== true);
  await Promise.all(leases.map((lease) => end(broker, lease)));
  remove(state.folder);
}

/** A lease that is left ends at its time, so a failure is a warning and the job keeps its result. */
async function end(broker: string, { credential, handle, expiresAt, isShared }: Lease): Promise<void> {
  mask(handle);
  if (isShared === true) {
    const until = plain(expiresAt, 40);
    core.info(
      `hallpass: the lease of \`${credential}\` is not revoked, because other tokens of this subject have the same login; it ends at ${until}`,
    );
    return;
  }
  try {
    const became = await revoke(brokerAddress(broker), handle, within(PATIENCE));
    core.info(`hallpass: the lease of \`${credential}\` is ${became}`);
  } catch (error) {
    const why = plain((error as Error)?.message);
    core.warning(
      `the lease of \`${credential}\` was not revoked and ends at ${plain(expiresAt, 40)}: ${why}`,
      { title: "hallpass" },
    );
  }
}
