//! The commands that make the broker's own login.

use super::settings::RedisServers;
use crate::credential::database::broker_login::{BrokerLogin, second};
use crate::credential::target::InstallText;
use crate::secret::Secret;

/// What `hallpass target install` prints: nothing but commands, since `redis-cli` knows no comments.
pub(super) fn text(target: &str, settings: &RedisServers) -> InstallText {
    let user = &settings.user;
    let rules = RULES.join(" ");
    let note = format!(
        "run it on each of the {} servers of target `{target}`, since users are not replicated: \
         `hallpass target install {target} | redis-cli -h HOST`, then the output of \
         `hallpass target passwords {target}`. Whoever has the password of `{user}` can make any user, and so \
         has the server: Redis has no smaller right. Let only the brokers' network reach the server as `{user}`. \
         Keep the user over restarts with `ACL SAVE` or `CONFIG REWRITE`, before there are leases: they would be \
         saved too, and come back with a restart until the next sweep",
        settings.nodes.len()
    );
    InstallText {
        text: format!(
            "ACL SETUSER {user} on resetkeys resetchannels clearselectors -@all {rules}\n"
        ),
        note: Some(note),
    }
}

/// What `hallpass target uninstall` prints.
pub(super) fn removal(settings: &RedisServers) -> InstallText {
    InstallText {
        text: format!("ACL DELUSER {0} {1}\n", settings.user, second(&settings.user)),
        note: Some(
            "revoke the leases first, and run it on each server; what a broker noted of used tokens are users named \
             `used_`, which can be deleted an hour later"
                .to_owned(),
        ),
    }
}

/// The command that sets the password: the server gets its hash.
pub(super) fn password(login: &BrokerLogin) -> Result<Secret<String>, String> {
    let BrokerLogin { user, password } = login;
    if password.expose().len() < SHORTEST_PASSWORD {
        return Err(format!(
            "the password of `{user}` has {} bytes: Redis keeps passwords as SHA-256 without salt, so use at least {SHORTEST_PASSWORD} random characters, e.g. `openssl rand -base64 32`",
            password.expose().len()
        ));
    }
    let rule = super::user::password_rule(password);
    Ok(Secret::new(format!(
        "ACL SETUSER {user} resetpass {rule}\n"
    )))
}

/// What the broker calls.
pub(super) const RULES: [&str; 15] = [
    "+acl|setuser",
    "+acl|getuser",
    "+acl|deluser",
    "+acl|users",
    "+acl|dryrun",
    "+acl|whoami",
    "+info",
    "+role",
    "+time",
    "+ping",
    "+cluster|myid",
    "+cluster|nodes",
    "+config|get",
    "+client|setname",
    "+client|list",
];
const SHORTEST_PASSWORD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_password_is_not_hashed() {
        let short = Secret::new("short".to_owned());
        let login = BrokerLogin {
            user: "hallpass".to_owned(),
            password: short,
        };
        assert!(password(&login).unwrap_err().contains("32"));
    }
}
