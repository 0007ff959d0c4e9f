//! What git reads from a credential helper's `get` (git-credential(1)).

use super::{Format, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &["token"],
    ..Format::new("git", "a git credential helper's answer to get", text)
};

fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    Some(Secret::new(format!(
        "username=hallpass\npassword={}\npassword_expiry_utc={}",
        received.members.text("token")?.expose(),
        received.expires_at.unix()
    )))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::super::tests::{jwt, login, refusal, write};
    use super::*;

    /// An expired `password_expiry_utc` makes git (2.41 and later) drop the answer, so this one lies ahead.
    #[test]
    fn git_reads_the_token() {
        let mut received = jwt();
        received.expires_at = crate::clock::Timestamp::from_unix(99_999_999_999);
        let mut answer = tempfile::NamedTempFile::new().unwrap();
        writeln!(answer, "{}", write(&FORMAT, &received)).unwrap();
        let helper = format!("credential.helper=!cat {} #", answer.path().display());
        let mut git = Command::new("git")
            .args([
                "-c",
                "credential.helper=",
                "-c",
                &helper,
                "credential",
                "fill",
            ])
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut question = git.stdin.take().unwrap();
        question
            .write_all(b"protocol=https\nhost=git.example\n\n")
            .unwrap();
        drop(question);
        let output = git.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("username=hallpass\n"), "{text}");
        assert!(
            text.contains("password=header.claims.signature\n"),
            "{text}"
        );
    }

    #[test]
    fn a_login_is_refused() {
        insta::assert_snapshot!(refusal(&FORMAT, &login()), @"format `git` needs member `token`, which `shop-db/migrate`, a PostgreSQL login, does not have: use one of `json`, `env`, `fish`, `powershell`, `dotenv`, `url`, `pgpass`, `pg-service`");
    }
}
