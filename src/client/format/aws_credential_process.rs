//! What `credential_process` of the AWS tools reads. No kind of credential fits yet; the name is kept
//! so that its error can say so.

use super::{Format, Holds, Options, Surroundings};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "aws-credential-process",
    summary: "AWS tools' credential_process (for sessions of AWS only)",
    needs: &["access_key_id", "secret_access_key", "session_token"],
    holds: Holds::Nothing,
    hint: Some(
        "let AWS trust the broker as an OIDC provider and give it the token (`--format env`)",
    ),
    wants_ca_file: false,
    environment: Surroundings::Apart,
    text,
    merge: None,
    beside: None,
};

const fn text(_: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, refusal};
    use super::*;

    #[test]
    fn the_error_says_how_aws_gets_in() {
        insta::assert_snapshot!(refusal(&FORMAT, &jwt()), @"format `aws-credential-process` needs member `access_key_id`, which `deploy-api`, a signed token, does not have: let AWS trust the broker as an OIDC provider and give it the token (`--format env`)");
    }
}
