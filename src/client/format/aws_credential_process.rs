//! What `credential_process` of the AWS tools reads. No kind of credential fits yet; the name is kept
//! so that its error can say so.

use super::{Format, FormatError, Options, Surroundings};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "aws-credential-process",
    summary: "AWS tools' credential_process (for sessions of AWS only)",
    wants_ca_file: false,
    environment: Surroundings::Apart,
    write,
    merge: None,
};

fn write(received: &Received, _: &Options<'_>) -> Result<Secret<String>, FormatError> {
    Err(FormatError::new(
        FORMAT.name,
        received,
        "AWS wants an access key and a secret; let AWS trust the broker as an OIDC provider and give it the token (`--format env`)",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, refusal};
    use super::*;

    #[test]
    fn the_error_says_how_aws_gets_in() {
        insta::assert_snapshot!(refusal(&FORMAT, &jwt()), @"format `aws-credential-process` cannot hold `deploy-api`, which is a signed token: AWS wants an access key and a secret; let AWS trust the broker as an OIDC provider and give it the token (`--format env`)");
    }
}
