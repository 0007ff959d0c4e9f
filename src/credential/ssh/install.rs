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

/// The text for the administrators of hosts that shall trust the CA no longer.
#[must_use]
pub fn removal(target: &str, key: &CaKey) -> String {
    format!(
        "\
# Hosts that shall no longer accept the certificates of target `{target}`.

# {CA_FILE}: remove the line of {fingerprint}:
{line}

# If no line is left there, remove these too, then reload sshd:
#   {CONFIG_FILE}
#   {PRINCIPALS_FOLDER}
#   {REVOKED_FILE}
",
        fingerprint = key.fingerprint(),
        line = key.public_line(&format!("hallpass {target}")),
    )
}

const CA_FILE: &str = "/etc/ssh/hallpass_ca.pub";
const CONFIG_FILE: &str = "/etc/ssh/sshd_config.d/hallpass.conf";
const PRINCIPALS_FOLDER: &str = "/etc/ssh/hallpass_principals";
const REVOKED_FILE: &str = "/etc/ssh/hallpass_revoked";
