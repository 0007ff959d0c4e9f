//! What `hallpass target install` prints for an `ssh-ca`: the lines that a host needs to trust the CA.

use std::collections::BTreeSet;

use super::CaKey;

/// The text for the administrators of hosts: the files, and what goes into each.
///
/// `principals` are those of all credentials of the target.
#[must_use]
pub fn text(target: &str, key: &CaKey, principals: &BTreeSet<String>) -> String {
    let line = key.public_line(&format!("hallpass {target}"));
    let fingerprint = key.fingerprint();
    let listed: Vec<&str> = principals.iter().map(String::as_str).collect();
    let listed = if listed.is_empty() {
        "none: no credential of this target is defined".to_owned()
    } else {
        listed.join(", ")
    };
    format!(
        "\
# Hosts that accept the certificates of target `{target}`.
# Review this, then do the steps as root on each host, with another session open.

# 1. See what is in force. USER is whom certificates log in as, ADDR an address that jobs come from:
#   {CHECK}
# Go on if it prints `none` four times. sshd uses the first value that it reads, so the lines of step 5
# would replace files that are in force already, or be ignored. Where the host has a file of its own, leave
# its line out of step 5, and add the CA, the principals or the serial numbers to that file instead.

# 2. {CA_FILE}: the CA ({fingerprint}).
# To replace its key: add the line of the new key here on every host, give the new key to the broker,
# and remove the old line an hour later, when the last certificate has expired.
{line}

# 3. {PRINCIPALS_FOLDER}/USER, owned by root: who may log in as USER, one principal a line.
# Principals of this target: {listed}
# Without AuthorizedPrincipalsFile a principal is the name of the user, on every host that trusts the CA.

# 4. {REVOKED_FILE}: without it sshd refuses every public key. Make it, for no key yet:
#   ssh-keygen -k -f {REVOKED_FILE}

# 5. {CONFIG_FILE}
TrustedUserCAKeys {CA_FILE}
AuthorizedPrincipalsFile {PRINCIPALS_FOLDER}/%u
RevokedKeys {REVOKED_FILE}

# 6. Run `sshd -t`, reload sshd, and run the command of step 1 again: it must print the three values of step
# 5 and `authorizedprincipalscommand none`. `sshd -t` does not notice a value that is ignored.

# To revoke a certificate by its serial number, whichever CA signed it:
#   echo 'serial: NUMBER' | ssh-keygen -k -u -f {REVOKED_FILE} -s none -
# Keep `-s none`: of a file with several CAs ssh-keygen reads the first, and revokes nothing of the others.
"
    )
}

/// The text that removes the trust.
#[must_use]
pub fn removal(target: &str, key: &CaKey) -> String {
    format!(
        "\
# Hosts that accept the certificates of target `{target}`, CA {fingerprint}.
# On each host: remove the line of this CA from {CA_FILE},
{line}
# and where no other CA is left in it, remove {CONFIG_FILE}.
# Keep another session open, run `sshd -t`, and reload sshd: certificates of this
# CA are refused from then on. Only after the reload remove {CA_FILE},
# {PRINCIPALS_FOLDER} and {REVOKED_FILE}: an sshd
# whose revocation list is missing refuses every key.
",
        line = key.public_line(&format!("hallpass {target}")),
        fingerprint = key.fingerprint(),
    )
}

/// The settings that decide on certificates, as sshd resolved them, `Match` blocks included.
const CHECK: &str = "sshd -T -C user=USER,host=HOST,addr=ADDR | grep -E '^(trustedusercakeys|authorizedprincipals(file|command)|revokedkeys) '";
const CA_FILE: &str = "/etc/ssh/hallpass_ca.pub";
const CONFIG_FILE: &str = "/etc/ssh/sshd_config.d/hallpass.conf";
const PRINCIPALS_FOLDER: &str = "/etc/ssh/hallpass_principals";
const REVOKED_FILE: &str = "/etc/ssh/hallpass_revoked";
