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
# Review this, then make the files on each host. `sshd -t` checks them, and a reload takes them in.

# {CA_FILE}: the CA ({fingerprint}).
# To replace its key: add the line of the new key here on every host, give the new key to the broker,
# and remove the old line an hour later, when the last certificate has expired.
{line}

# {CONFIG_FILE}
TrustedUserCAKeys {CA_FILE}
AuthorizedPrincipalsFile {PRINCIPALS_FOLDER}/%u
RevokedKeys {REVOKED_FILE}

# {PRINCIPALS_FOLDER}/USER, owned by root: who may log in as USER, one principal a line.
# Principals of this target: {listed}
# Without AuthorizedPrincipalsFile a principal is the name of the user, on every host that trusts the CA.

# {REVOKED_FILE}: without it sshd refuses every public key. Make it, and revoke by serial number:
#   ssh-keygen -k -f {REVOKED_FILE}
#   echo 'serial: NUMBER' | ssh-keygen -k -u -f {REVOKED_FILE} -s {CA_FILE} -
"
    )
}

/// What takes the trust away again.
#[must_use]
pub fn removal(target: &str, key: &CaKey) -> String {
    format!(
        "\
# Hosts that accept the certificates of target `{target}`, CA {fingerprint}.
# On each host: remove the line of this CA from {CA_FILE},
{line}
# and where no other CA is left in it, remove {CONFIG_FILE},
# {CA_FILE}, {PRINCIPALS_FOLDER} and {REVOKED_FILE}. `sshd -t` checks what is
# left, and a reload takes it in: certificates of this CA are refused from then on.
",
        line = key.public_line(&format!("hallpass {target}")),
        fingerprint = key.fingerprint(),
    )
}

const CA_FILE: &str = "/etc/ssh/hallpass_ca.pub";
const CONFIG_FILE: &str = "/etc/ssh/sshd_config.d/hallpass.conf";
const PRINCIPALS_FOLDER: &str = "/etc/ssh/hallpass_principals";
const REVOKED_FILE: &str = "/etc/ssh/hallpass_revoked";
