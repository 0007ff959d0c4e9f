//! The bodies of the HTTP API as serde types, shared by server, client, command line and tests.
//!
//! A type whose text may be secret is generic over what holds it: the broker writes borrowed text
//! (`S` is `&str`), and the client reads into [`Secret`](crate::secret::Secret). Likewise `M` is
//! the members of a credential, which its kind defines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest name of a credential, in bytes.
pub const LONGEST_NAME: usize = 128;

/// The body of `POST /api/credentials` and `POST /api/explain`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRequest {
    /// The credential's name. Without it `/api/explain` lists the credentials of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The requested scopes. Without it, all scopes of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The requested lifetime, such as `10m`. Without it, that of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// The inputs of the credential's kind, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// The public key of the recipient that the answer is sealed to, as a JWK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_encryption_jwk: Option<Value>,
}

/// The response of `POST /token` (RFC 8693 section 2.2.1). No `Debug`: the broker's holds the
/// secret as text.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenAnswer<S, M> {
    pub access_token: S,
    #[serde(default)]
    pub issued_token_type: String,
    /// How it is used: `Bearer` or `N_A`.
    #[serde(default)]
    pub token_type: String,
    /// Seconds until it expires.
    #[serde(default)]
    pub expires_in: i64,
    /// The scopes, separated by spaces, for kinds with scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The same as the response of `POST /api/credentials`.
    pub hallpass: CredentialAnswer<S, M>,
}

/// The response of `POST /api/credentials`. No `Debug`, as [`TokenAnswer`].
#[derive(Clone, Serialize, Deserialize)]
pub struct CredentialAnswer<S, M> {
    /// `kind`, `name` and the members of the kind.
    pub credential: M,
    /// When it expires (RFC 3339).
    pub expires_at: String,
    /// The handle to revoke it with, for kinds that can be revoked.
    pub lease: Option<S>,
    /// The policy that granted it.
    pub policy: String,
    /// The link to the policy at its commit, if the broker's settings say how to make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_url: Option<String>,
    /// The hash of the policies that decided.
    pub policies_revision: String,
    /// The decision in one sentence.
    pub decision: String,
    /// Other tokens of the subject get the same login, which a revocation ends for all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// A refusal of any endpoint (RFC 6749 section 5.2, with members of ours).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The OAuth code, e.g. `invalid_request`.
    pub error: String,
    pub error_description: Option<String>,
    /// Our short code, e.g. `token.expired`.
    pub reason: Option<String>,
    /// The id of the request in the broker's log.
    pub request_id: Option<String>,
    /// The same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// The conditions that the job does not meet, if the broker discloses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_conditions: Vec<FailedCondition>,
    /// The job as a `when:` block to paste into a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// A condition of a policy that the job did not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCondition {
    pub policy: String,
    /// The fact.
    pub fact: String,
    #[serde(default)]
    pub expected: Value,
    /// The job's value.
    #[serde(default)]
    pub actual: Value,
    /// What almost matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The response of `POST /api/explain` to a request without `credential`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offers {
    /// The credentials of the job, each once.
    pub credentials: Vec<Offer>,
}

/// A credential that the job can get.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    pub credential: String,
    /// Its kind, e.g. `postgres`.
    pub kind: String,
    /// The policy that grants it.
    pub policy: String,
    /// The link to the policy at its commit, if the broker's settings say how to make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_url: Option<String>,
    /// Its maximum lifetime in seconds.
    pub ttl: u64,
    /// Its scopes, for kinds with scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub purpose: String,
}

/// The response of `POST /api/explain` to a request with `credential`; with the members of a
/// refusal if `permitted` is `false`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// An exchange would return the credential.
    pub permitted: bool,
    /// The policies, requirements and conditions that decide, if the broker discloses them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub decision: Value,
    #[serde(flatten)]
    pub refusal: Option<Refusal>,
}

/// The response of `POST /revoke` (RFC 7009).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAnswer {
    /// The state of the lease.
    pub lease: LeaseState,
}

/// The state of a revoked lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    Gone,
    /// The login is closed and its code disarmed; objects it left keep its name for now.
    Closed,
    /// The broker is still ending the login.
    Pending,
}

/// The documentation of a body of the API.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// The endpoint of the request or response.
    pub of: &'static str,
    /// Its members or parameters, each with its meaning.
    pub members: &'static [(&'static str, &'static str)],
}

/// The bodies of the API. `docs/http-api.md` has them as a table.
pub const BODIES: &[Body] = &[
    Body {
        of: "`POST /token`, form",
        members: &[
            (
                "grant_type",
                "`urn:ietf:params:oauth:grant-type:token-exchange`",
            ),
            ("subject_token", "the job's token"),
            (
                "subject_token_type",
                "`urn:ietf:params:oauth:token-type:id_token` or `…:jwt`",
            ),
            ("audience", "the credential's name; or `resource`"),
            ("resource", "the URI that the credential declares"),
            (
                "scope",
                "optional: some of the granted scopes, separated by spaces",
            ),
            ("ttl", "optional: a shorter lifetime, such as `10m`"),
            (
                "requested_token_type",
                "optional: the URI of the expected kind",
            ),
            (
                "response_encryption_jwk",
                "optional: the public key of a recipient, as a JWK; the answer is sealed to it",
            ),
        ],
    },
    Body {
        of: "its answer",
        members: &[
            (
                "access_token",
                "the secret of the credential, or the sealed message",
            ),
            (
                "issued_token_type",
                "the URI of its kind, as it was asked for, or `urn:hallpass:sealed`",
            ),
            ("token_type", "`Bearer` for a signed token, else `N_A`"),
            ("expires_in", "seconds until it expires"),
            (
                "scope",
                "its scopes, separated by spaces, for kinds that have any",
            ),
            (
                "hallpass",
                "the same as the answer of `POST /api/credentials`",
            ),
        ],
    },
    Body {
        of: "`POST /api/credentials`, JSON, the job's token as bearer token",
        members: &[
            ("credential", "the credential's name"),
            ("scopes", "optional: some of the granted scopes, as a list"),
            ("ttl", "optional: a shorter lifetime, such as `10m`"),
            (
                "inputs",
                "optional: what the credential's kind takes, by name; the form has a parameter for each",
            ),
            (
                "response_encryption_jwk",
                "optional: the public key of a recipient, as a JWK; the answer is sealed to it",
            ),
        ],
    },
    Body {
        of: "its answer",
        members: &[
            (
                "credential",
                "`kind`, `name` and the members of the kind; in a sealed answer `sealed` instead of the secret ones",
            ),
            ("expires_at", "when it expires (RFC 3339)"),
            ("lease", "the handle to revoke it with, or `null`"),
            ("policy", "the policy that allowed it"),
            ("policy_url", POLICY_URL),
            ("policies_revision", "the hash of the policies that decided"),
            ("decision", "the decision in one sentence"),
            (
                "shared",
                "`true` if other tokens of the subject get the same login; otherwise left out",
            ),
        ],
    },
    Body {
        of: "answer of `POST /api/explain`, which takes the same as `/api/credentials`, with `credential`",
        members: &[
            (
                "permitted",
                "an exchange would return the credential; if not, with the members of a refusal",
            ),
            (
                "decision",
                "the policies and conditions that decide, where they are disclosed",
            ),
        ],
    },
    Body {
        of: "and without `credential`: `credentials`, a list of",
        members: &[
            ("credential", "its name"),
            ("kind", "its kind"),
            ("policy", "the policy that allows it"),
            ("policy_url", POLICY_URL),
            ("ttl", "its maximum lifetime in seconds"),
            ("scopes", "its scopes"),
            ("purpose", "what it is for"),
        ],
    },
    Body {
        of: "`POST /revoke`, form",
        members: &[("token", "the `lease` of a credential")],
    },
    Body {
        of: "its answer",
        members: &[("lease", "`gone`, `closed` or, with status 202, `pending`")],
    },
    Body {
        of: "a refusal of any of them",
        members: &[
            ("error", "the OAuth code"),
            ("error_description", "what is wrong, in a sentence"),
            ("reason", "our short code, such as `token.expired`"),
            (
                "request_id",
                "the id of the request in the broker's log and audit events",
            ),
            ("retryable", "the same request may succeed later"),
            (
                "failed_conditions",
                "where they are disclosed: a list of `policy`, `fact`, `expected`, `actual` and `hint`",
            ),
            ("when", "the job as a `when:` block to paste into a policy"),
        ],
    },
];

const POLICY_URL: &str =
    "the link to the policy at its commit, if the setting `policies.url` is set";

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &impl Serialize) -> Vec<String> {
        let value = serde_json::to_value(value).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }

    fn documented(number: usize) -> Vec<String> {
        let members = BODIES[number].members.iter();
        let mut names: Vec<String> = members.map(|(name, _)| (*name).to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_documented_members_are_those_of_the_types() {
        let text = String::new;
        let credential = CredentialAnswer {
            credential: Value::Null,
            expires_at: text(),
            lease: Some("hpl_1"),
            policy: text(),
            policy_url: Some(text()),
            policies_revision: text(),
            decision: text(),
            shared: true,
        };
        let token = TokenAnswer {
            access_token: "a",
            issued_token_type: text(),
            token_type: text(),
            expires_in: 1,
            scope: Some(text()),
            hallpass: credential.clone(),
        };
        let request = CredentialRequest {
            credential: Some(text()),
            scopes: Some(Vec::new()),
            ttl: Some(text()),
            inputs: [(text(), text())].into(),
            response_encryption_jwk: Some(Value::Null),
        };
        let condition = FailedCondition {
            policy: text(),
            fact: text(),
            expected: Value::Null,
            actual: Value::Null,
            hint: Some(text()),
        };
        let refusal = Refusal {
            error: text(),
            error_description: None,
            reason: None,
            request_id: None,
            retryable: false,
            failed_conditions: vec![condition.clone()],
            when: Some(text()),
        };
        let offer = Offer {
            credential: text(),
            kind: text(),
            policy: text(),
            policy_url: Some(text()),
            ttl: 1,
            scopes: Vec::new(),
            purpose: text(),
        };
        let explanation = Explanation {
            permitted: true,
            decision: Value::Bool(true),
            refusal: None,
        };
        let revoked = RevokeAnswer {
            lease: LeaseState::Gone,
        };
        assert_eq!(names(&token), documented(1));
        assert_eq!(names(&request), documented(2));
        assert_eq!(names(&credential), documented(3));
        assert_eq!(names(&explanation), {
            let mut names = documented(4);
            names.sort();
            names
        });
        assert_eq!(names(&offer), documented(5));
        assert_eq!(names(&revoked), documented(7));
        assert_eq!(names(&refusal), documented(8));
        let mut members = BODIES[8].members.iter();
        let (_, conditions) = members
            .find(|(name, _)| *name == "failed_conditions")
            .unwrap();
        assert!(
            names(&condition)
                .iter()
                .all(|name| conditions.contains(&format!("`{name}`")))
        );
    }
}
