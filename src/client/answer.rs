//! What the broker answers: a credential, or a refusal that says what to change.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::text::escape;

use super::connection::Answer;
use super::error::ClientError;

/// A credential as a job gets it.
#[derive(Debug)]
pub struct Received {
    /// Its name, e.g. `shop-db/migrate`.
    pub name: String,
    /// What it is.
    pub material: Material,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The handle that revokes it, for kinds that can be revoked.
    pub lease: Option<Secret<String>>,
    /// The policy that allowed it.
    pub policy: String,
    /// The hash of the policies that were asked.
    pub policies_revision: String,
    /// The id of the decision, as the audit has it.
    pub decision: String,
    /// An earlier step of the job asked for the same, and may be using it.
    pub is_repeat: bool,
}

/// The parts of a credential, by kind.
#[derive(Debug)]
pub enum Material {
    /// A signed JWT.
    Jwt {
        /// Its text.
        token: Secret<String>,
        /// Its scopes, divided by spaces.
        scope: String,
    },
    /// A PostgreSQL login.
    Postgres(PostgresLogin),
}

/// What a PostgreSQL client needs.
#[derive(Debug)]
pub struct PostgresLogin {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: Secret<String>,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// libpq's word for how TLS is checked, e.g. `verify-full`.
    pub sslmode: String,
    /// PEM certificates of the server's authority.
    pub ca: Option<String>,
    /// libpq's `options`, e.g. `-c role=shop_owner`.
    pub options: Option<String>,
}

impl Received {
    /// Reads the answer of the token endpoint to a request for `asked`.
    pub(super) fn parse(answer: &Answer, asked: &str) -> Result<Self, ClientError> {
        let wrong = |problem: String| ClientError::Answer {
            who: answer.who,
            problem,
        };
        let raw: RawToken = parse_json(answer)?;
        let credential = &raw.hallpass.credential;
        if credential.name != asked {
            return Err(wrong(format!(
                "it is about credential `{}`, asked for was `{}`",
                escape(&credential.name),
                escape(asked)
            )));
        }
        let expires_at = raw
            .hallpass
            .expires_at
            .parse::<jiff::Timestamp>()
            .map(|time| Timestamp::from_unix(time.as_second()))
            .map_err(|_| wrong("`expires_at` is not a time of RFC 3339".to_owned()))?;
        let lease = raw.hallpass.lease.clone();
        let kind = credential.kind.clone();
        let name = credential.name.clone();
        let policy = raw.hallpass.policy.clone();
        let policies_revision = raw.hallpass.policies_revision.clone();
        let decision = raw.hallpass.decision.clone();
        let material = match kind.as_str() {
            "jwt" => raw.into_jwt(),
            "postgres" => raw.into_postgres(),
            _ => Err("its kind is not known to this version of hallpass"),
        };
        let received = Self {
            name,
            material: material.map_err(|problem| wrong(problem.to_owned()))?,
            expires_at,
            lease,
            policy,
            policies_revision,
            decision,
            is_repeat: false,
        };
        received.check_texts().map_err(wrong)?;
        Ok(received)
    }

    /// Everything in it that no log may show.
    #[must_use]
    pub fn secrets(&self) -> Vec<&Secret<String>> {
        let secret = match &self.material {
            Material::Jwt { token, .. } => token,
            Material::Postgres(login) => &login.password,
        };
        std::iter::once(secret).chain(self.lease.as_ref()).collect()
    }

    /// The PEM certificates that a database is to be checked with: its own, or `roots` where its name
    /// is to be checked and none came along.
    #[must_use]
    pub fn authorities(&self, roots: impl FnOnce() -> String) -> Option<String> {
        let Material::Postgres(login) = &self.material else {
            return None;
        };
        let is_checked = matches!(login.sslmode.as_str(), "verify-ca" | "verify-full");
        login.ca.clone().or_else(|| is_checked.then(roots))
    }

    /// Nothing that a shell, a file of lines or a connection address could read as two things.
    fn check_texts(&self) -> Result<(), String> {
        let mut texts: Vec<(&str, &str)> = vec![
            ("policy", &self.policy),
            ("policies_revision", &self.policies_revision),
            ("decision", &self.decision),
        ];
        if let Some(lease) = &self.lease {
            texts.push(("lease", lease.expose()));
        }
        match &self.material {
            Material::Jwt { token, scope } => {
                texts.extend([("access_token", token.expose().as_str()), ("scope", scope)]);
            }
            Material::Postgres(login) => texts.extend([
                ("username", login.username.as_str()),
                ("password", login.password.expose()),
                ("host", &login.host),
                ("database", &login.database),
                ("options", login.options.as_deref().unwrap_or_default()),
            ]),
        }
        texts
            .into_iter()
            .find(|(_, text)| text.chars().any(char::is_control))
            .map_or(Ok(()), |(name, _)| {
                Err(format!("`{name}` holds a control character"))
            })
    }
}

/// A refusal of the broker (RFC 6749 section 5.2, with our members).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The OAuth code, e.g. `invalid_request`.
    pub error: String,
    /// The sentence.
    pub description: String,
    /// Our short code, e.g. `token.expired`.
    pub reason: Option<String>,
    /// What the broker's log calls this request.
    pub request_id: Option<String>,
    /// What would have had to be otherwise, where the broker tells.
    pub failed_conditions: Vec<FailedCondition>,
    /// What the job is, as a `when:` block ready to paste into a policy.
    pub when: Option<String>,
}

impl Refusal {
    /// The refusal in an answer; `None` when it is no broker's.
    pub(super) fn parse(answer: &Answer) -> Option<Self> {
        let raw: RawRefusal = serde_json::from_slice(answer.body.expose()).ok()?;
        Some(Self {
            status: answer.status,
            error: raw.error,
            description: raw.error_description.unwrap_or_default(),
            reason: raw.reason,
            request_id: raw.request_id,
            failed_conditions: raw.failed_conditions,
            when: raw.when,
        })
    }
}

/// One line, escaped (T-91): the sentence, then what tells it from others.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.description.is_empty() {
            f.write_str(&escape(&self.error))?;
        } else {
            f.write_str(&escape(&self.description))?;
        }
        let mut marks = vec![escape(self.reason.as_deref().unwrap_or(&self.error))];
        if let Some(id) = &self.request_id {
            marks.push(format!("request {}", escape(id)));
        }
        write!(f, " ({})", marks.join(", "))
    }
}

impl std::error::Error for Refusal {}

/// A condition of a policy that the job did not meet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FailedCondition {
    /// The policy.
    pub policy: String,
    /// The fact it is about.
    pub fact: String,
    /// What the policy wants.
    #[serde(default)]
    pub expected: Value,
    /// What the job's token says.
    #[serde(default)]
    pub actual: Value,
    /// What is nearly right about it.
    pub hint: Option<String>,
}

/// Reads an answer of status 200, or says what it is instead.
pub(super) fn success(answer: Answer) -> Result<Answer, ClientError> {
    match answer.status {
        200..300 => Ok(answer),
        400..500 => match Refusal::parse(&answer) {
            Some(refusal) => Err(ClientError::Denied(Box::new(refusal))),
            None => Err(not_a_broker(&answer)),
        },
        _ => match Refusal::parse(&answer) {
            Some(refusal) => Err(ClientError::NotNow {
                who: answer.who,
                status: answer.status,
                refusal: Box::new(refusal),
            }),
            None => Err(not_a_broker(&answer)),
        },
    }
}

/// The JSON document of an answer.
pub(super) fn parse_json<T: for<'de> Deserialize<'de>>(answer: &Answer) -> Result<T, ClientError> {
    serde_json::from_slice(answer.body.expose()).map_err(|error| ClientError::Answer {
        who: answer.who,
        // Only the place: the text of the error may quote a secret.
        problem: format!(
            "it is not the JSON expected (line {}, column {})",
            error.line(),
            error.column()
        ),
    })
}

fn not_a_broker(answer: &Answer) -> ClientError {
    ClientError::Answer {
        who: answer.who,
        problem: format!(
            "status {} without an error in JSON; does the address lead to hallpass, or to something in front of it?",
            answer.status
        ),
    }
}

#[derive(Deserialize)]
struct RawToken {
    #[serde(deserialize_with = "secret")]
    access_token: Secret<String>,
    #[serde(default)]
    scope: String,
    hallpass: RawDetails,
}

#[derive(Deserialize)]
struct RawDetails {
    credential: RawCredential,
    expires_at: String,
    #[serde(default, deserialize_with = "optional_secret")]
    lease: Option<Secret<String>>,
    policy: String,
    policies_revision: String,
    decision: String,
}

/// All kinds' members in one: serde's own reading of tagged enums keeps copies it does not wipe.
#[derive(Deserialize)]
struct RawCredential {
    kind: String,
    name: String,
    username: Option<String>,
    #[serde(default, deserialize_with = "optional_secret")]
    password: Option<Secret<String>>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    sslmode: Option<String>,
    ca: Option<String>,
    options: Option<String>,
}

#[derive(Deserialize)]
struct RawRefusal {
    error: String,
    error_description: Option<String>,
    reason: Option<String>,
    request_id: Option<String>,
    #[serde(default)]
    failed_conditions: Vec<FailedCondition>,
    when: Option<String>,
}

impl RawToken {
    fn into_jwt(self) -> Result<Material, &'static str> {
        if self.access_token.expose().is_empty() {
            return Err("`access_token` is empty");
        }
        Ok(Material::Jwt {
            token: self.access_token,
            scope: self.scope,
        })
    }

    fn into_postgres(self) -> Result<Material, &'static str> {
        let raw = self.hallpass.credential;
        let sslmode = raw.sslmode.ok_or("`sslmode` is missing")?;
        if !SSL_MODES.contains(&sslmode.as_str()) {
            return Err("`sslmode` is none that libpq knows");
        }
        Ok(Material::Postgres(PostgresLogin {
            username: raw.username.ok_or("`username` is missing")?,
            password: raw.password.ok_or("`password` is missing")?,
            host: raw.host.ok_or("`host` is missing")?,
            port: raw.port.ok_or("`port` is missing")?,
            database: raw.database.ok_or("`database` is missing")?,
            sslmode,
            ca: raw.ca,
            options: raw.options,
        }))
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret<String>, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

fn optional_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(Secret::new))
}

const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
