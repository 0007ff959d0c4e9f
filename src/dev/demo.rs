//! The story, told: a job gets a login and a token, others are refused, a lease ends early and
//! another by itself, and the record proves whole.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::issuer::{GithubJob, github_claims};
use super::stage::{Reply, Stage, StageError, fresh_key, masked};
use crate::audit::Head;
use crate::audit::verify::{Expected, Report, Verification};
use crate::clock::{Clock as _, SystemClock};
use crate::reason::Reason;
use crate::text::escape;
use crate::token::{Admission, Algorithm, KeySet, verify_jws};

/// Where the story goes, line by line.
pub type Tell<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Tells the story on a stage that runs. Every step does what it says or ends the story.
///
/// # Errors
/// The first step that did not, with what was found and what was expected.
pub async fn tell(stage: &Stage, tell: Tell<'_>) -> Result<(), DemoError> {
    let mut story = Story {
        stage,
        tell,
        clock: SystemClock::new(),
        step: 0,
    };
    let migrated = story.migrate().await?;
    story.sign_a_token().await?;
    story.refuse_a_branch().await?;
    story.refuse_a_stranger().await?;
    story.repeat(&migrated).await?;
    story.revoke(&migrated).await?;
    story.expire().await?;
    story.prove_the_record()
}

/// A step that did not do what it says.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{0}")]
    Otherwise(String),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("the database said: {0}")]
    Sql(#[from] tokio_postgres::Error),
    #[error("the audit file could not be read: {0}")]
    File(#[from] std::io::Error),
}

struct Story<'a> {
    stage: &'a Stage,
    tell: Tell<'a>,
    clock: SystemClock,
    step: u32,
}

/// What the first job got, for the steps after it.
struct Migrated {
    token: String,
    key: String,
    login: Login,
    lease: String,
    session: Client,
}

/// A PostgreSQL login, as the answer has it.
struct Login {
    username: String,
    password: String,
    database: String,
    options: String,
    host: String,
    port: u16,
}

impl Story<'_> {
    /// Step 1: the whole way from a CI token to a table.
    async fn migrate(&mut self) -> Result<Migrated, DemoError> {
        self.title("A job of acme/shop on main, environment production, asks for shop-db/migrate");
        let token = self.job_token(|job| job.environment = Some("production".to_owned()))?;
        let key = fresh_key()?.expose().clone();
        let reply = self.ask("shop-db/migrate", &token, Some(&key), &[]).await?;
        expect_status(&reply, 200)?;
        let login = Login::read(&reply.body)?;
        let lease = text(&reply.body, "/hallpass/lease")?;
        self.say(&format!("user {}", login.username));
        self.say(&format!("password {}", masked(&login.password)));
        self.say(&format!(
            "until {}",
            text(&reply.body, "/hallpass/expires_at")?
        ));
        self.say(&format!(
            "by policy {}",
            text(&reply.body, "/hallpass/policy")?
        ));
        let session = login.connect().await?;
        self.did("logged in with it; the user did not exist a second ago");
        session
            .batch_execute("CREATE TABLE shop.parcels (id int PRIMARY KEY, weight int)")
            .await?;
        let owner: String = session
            .query_one(
                "SELECT tableowner::text FROM pg_tables WHERE tablename = 'parcels'",
                &[],
            )
            .await?
            .get(0);
        expect(&owner, "shop_owner", "the owner of the new table")?;
        self.did("CREATE TABLE shop.parcels: it belongs to group shop_owner, not to the login");
        Ok(Migrated {
            token,
            key,
            login,
            lease,
            session,
        })
    }

    /// Step 2: the same token, another credential, checked as its receiver would.
    async fn sign_a_token(&mut self) -> Result<(), DemoError> {
        self.title("The same job asks for a token for the deploy service: deploy-api");
        let token = self.job_token(|job| job.environment = Some("production".to_owned()))?;
        let reply = self
            .ask("deploy-api", &token, None, &[("scope", "deploy:staging")])
            .await?;
        expect_status(&reply, 200)?;
        let minted = text(&reply.body, "/access_token")?;
        self.say(&format!("token {}", masked(&minted)));
        let keys = self.stage.get("/.well-known/jwks.json").await?;
        let keys = KeySet::from_jwks(
            keys.body.to_string().as_bytes(),
            &Admission::new(&[Algorithm::ES256]),
        )
        .map_err(|error| DemoError::Otherwise(error.to_string()))?;
        let payload = verify_jws(&minted, &keys, &[Algorithm::ES256])
            .map_err(|error| DemoError::Otherwise(error.to_string()))?;
        let claims: Value = serde_json::from_slice(&payload)
            .map_err(|error| DemoError::Otherwise(error.to_string()))?;
        expect(
            &text(&claims, "/aud")?,
            "https://deploy.acme.dev",
            "the token's `aud`",
        )?;
        expect(
            &text(&claims, "/iss")?,
            &self.stage.url,
            "the token's `iss`",
        )?;
        expect(
            &text(&claims, "/sub")?,
            "credential/deploy-api",
            "the token's `sub`",
        )?;
        self.did("its signature is valid under the broker's published keys");
        for name in ["iss", "sub", "aud", "scope", "job"] {
            let value = claims.get(name).unwrap_or(&Value::Null);
            self.say(&format!("{name} {}", escape(&value.to_string())));
        }
        Ok(())
    }

    /// Step 3: a denial that teaches.
    async fn refuse_a_branch(&mut self) -> Result<(), DemoError> {
        self.title("A job on another branch of the same repository asks for shop-db/migrate");
        let token = self.job_token(|job| "refs/heads/try-it".clone_into(&mut job.r#ref))?;
        let reply = self.ask("shop-db/migrate", &token, None, &[]).await?;
        expect_status(&reply, 400)?;
        expect(&text(&reply.body, "/error")?, "invalid_request", "`error`")?;
        self.say(&text(&reply.body, "/error_description")?);
        let conditions = reply
            .body
            .pointer("/failed_conditions")
            .and_then(Value::as_array);
        let conditions = conditions.map(Vec::as_slice).unwrap_or_default();
        for condition in conditions {
            self.say(&format!(
                "  policy {}: {} is {}, expected {}",
                plain(condition.get("policy")),
                plain(condition.get("fact")),
                plain(condition.get("actual")),
                plain(condition.get("expected")),
            ));
        }
        let named = |fact: &str| {
            conditions
                .iter()
                .any(|condition| condition.get("fact") == Some(&json!(fact)))
        };
        if !(named("ref") && named("environment")) {
            return Err(DemoError::Otherwise(
                "the denial does not name `ref` and `environment`".to_owned(),
            ));
        }
        self.did("denied: the job learns which facts failed, for its own repository");
        Ok(())
    }

    /// Step 4: who does not belong here learns nothing.
    async fn refuse_a_stranger(&mut self) -> Result<(), DemoError> {
        self.title(
            "A job of another repository asks for it, and for a credential that does not exist",
        );
        let mut heard = Vec::new();
        for credential in ["shop-db/migrate", "no-such/credential"] {
            let token = self.job_token(|job| {
                "mallory/shop".clone_into(&mut job.repository);
                "900100200".clone_into(&mut job.repository_id);
                "88420113".clone_into(&mut job.owner_id);
                job.environment = Some("production".to_owned());
            })?;
            let reply = self.ask(credential, &token, None, &[]).await?;
            expect_status(&reply, 400)?;
            heard.push(text(&reply.body, "/error_description")?);
            if reply.body.get("failed_conditions").is_some() {
                return Err(DemoError::Otherwise(
                    "an unrelated job was shown conditions".to_owned(),
                ));
            }
        }
        let [first, second] = heard.as_slice() else {
            return Err(DemoError::Otherwise("two answers were expected".to_owned()));
        };
        expect(
            second,
            first,
            "the response to an unrelated job about a credential that does not exist",
        )?;
        self.say(first);
        self.did("denied: an unrelated job always gets the same sentence");
        Ok(())
    }

    /// Step 5: retries are safe, copies are not.
    async fn repeat(&mut self, migrated: &Migrated) -> Result<(), DemoError> {
        self.title("The first exchange again: with its Idempotency-Key, and without");
        let reply = self
            .ask("shop-db/migrate", &migrated.token, Some(&migrated.key), &[])
            .await?;
        expect_status(&reply, 200)?;
        let again = Login::read(&reply.body)?;
        expect(
            &again.username,
            &migrated.login.username,
            "the user of the repeat",
        )?;
        if again.password != migrated.login.password {
            return Err(DemoError::Otherwise(
                "the repeat has another password".to_owned(),
            ));
        }
        self.did("with the key: the same user and the same password, never a second user");
        let reply = self
            .ask("shop-db/migrate", &migrated.token, None, &[])
            .await?;
        expect_status(&reply, 400)?;
        expect(
            &text(&reply.body, "/reason")?,
            Reason::TokenReplayed.code(),
            "`reason`",
        )?;
        self.say(&text(&reply.body, "/error_description")?);
        self.did("without it: token.replayed, as for a token copied from a log");
        Ok(())
    }

    /// Step 6: revocation is not only a dropped name.
    async fn revoke(&mut self, migrated: &Migrated) -> Result<(), DemoError> {
        self.title("The lease is revoked while its session is open");
        migrated.session.simple_query("SELECT 1").await?;
        let reply = self
            .stage
            .post("/revoke", &[("token", &migrated.lease)], None)
            .await?;
        self.say(&format!("POST /revoke: {}", reply.status));
        expect_status(&reply, 200)?;
        if migrated.session.simple_query("SELECT 1").await.is_ok() {
            return Err(DemoError::Otherwise("the session is still open".to_owned()));
        }
        self.did("the open session was ended");
        match migrated.login.connect().await {
            Err(error) if is_refused_login(&error) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(DemoError::Otherwise("a new login succeeded".to_owned())),
        }
        self.did("a new login fails");
        self.expect_roles(0).await?;
        self.did("no role is left");
        let shop = self.stage.postgres.connect("shop").await?;
        shop.query_one("SELECT count(*) FROM shop.parcels", &[])
            .await?;
        self.did("the table is still there");
        Ok(())
    }

    /// Step 7: what nobody revokes ends by itself.
    async fn expire(&mut self) -> Result<(), DemoError> {
        self.title("A second job gets a login for 5 seconds, which is not revoked");
        let token = self.job_token(|job| job.environment = Some("production".to_owned()))?;
        let reply = self
            .ask("shop-db/migrate", &token, None, &[("ttl", "5s")])
            .await?;
        expect_status(&reply, 200)?;
        let login = Login::read(&reply.body)?;
        self.say(&format!("user {}", login.username));
        let session = login.connect().await?;
        self.expect_roles(1).await?;
        self.did("logged in; its expiry is part of its name, so every replica knows it");
        for _ in 0..SWEEP_POLLS {
            if self.roles().await? == 0 {
                if session.simple_query("SELECT 1").await.is_ok() {
                    return Err(DemoError::Otherwise("its session is still open".to_owned()));
                }
                self.did("the sweep, every 2 s here, ended its session and dropped it");
                return Ok(());
            }
            tokio::time::sleep(SWEEP_POLL).await;
        }
        Err(DemoError::Otherwise(
            "the sweep did not remove it".to_owned(),
        ))
    }

    /// Step 8: the record shows what was done to it.
    fn prove_the_record(&mut self) -> Result<(), DemoError> {
        self.title("The audit log is complete, and shows when it is not");
        let file = self.stage.audit_file();
        let lines = fs::read_to_string(&file)?;
        let whole = check(&file, Vec::new())?;
        if let Some(finding) = whole.findings.first() {
            return Err(DemoError::Otherwise(format!(
                "a finding in a complete log: {finding}"
            )));
        }
        self.did(&format!(
            "hallpass audit verify audit.jsonl: {} lines, complete",
            whole.lines
        ));
        let head = whole
            .head
            .as_deref()
            .and_then(Head::parse)
            .ok_or_else(|| DemoError::Otherwise("the log has no head".to_owned()))?;
        let copy = self.stage.folder().join("copy.jsonl");

        fs::write(
            &copy,
            lines.replacen("shop-db/migrate", "shop-db/migrat3", 1),
        )?;
        let changed = check(&copy, Vec::new())?;
        self.expect_finding(&changed, "one byte of a copy is changed")?;

        let mut kept: Vec<&str> = lines.lines().collect();
        kept.truncate(kept.len().saturating_sub(2));
        fs::write(&copy, format!("{}\n", kept.join("\n")))?;
        let cut = check(&copy, vec![head])?;
        self.expect_finding(&cut, "its tail is cut off (--expect-head)")
    }

    fn expect_finding(&mut self, report: &Report, what: &str) -> Result<(), DemoError> {
        let finding = report
            .findings
            .first()
            .ok_or_else(|| DemoError::Otherwise(format!("{what}, and nothing was found")))?
            .to_string();
        self.did(&format!("{what}: found"));
        self.say(&finding);
        Ok(())
    }

    /// Sends an exchange as `hallpass get` does, and shows it.
    async fn ask(
        &mut self,
        credential: &str,
        token: &str,
        key: Option<&str>,
        more: &[(&str, &str)],
    ) -> Result<Reply, DemoError> {
        let mut form = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
            ("subject_token", token),
            ("audience", credential),
        ];
        form.extend_from_slice(more);
        let extra: Vec<String> = more
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        let key_shown = key.map_or_else(String::new, |key| {
            format!(" Idempotency-Key: {}", masked(key))
        });
        self.say(&format!(
            "POST /token audience={credential}{} subject_token={}{key_shown}",
            extra.concat(),
            masked(token),
        ));
        let reply = self.stage.post("/token", &form, key).await?;
        self.say(&format!("-> {}", reply.status));
        Ok(reply)
    }

    /// A token of the embedded CI for a push to main, changed as told.
    fn job_token(&self, change: impl FnOnce(&mut GithubJob)) -> Result<String, DemoError> {
        let issuer = &self.stage.github;
        let mut job = GithubJob::new(issuer.url(), &self.stage.url, self.clock.now());
        "702114500".clone_into(&mut job.repository_id);
        "65923871".clone_into(&mut job.owner_id);
        change(&mut job);
        issuer
            .sign(&github_claims(&job))
            .map_err(|error| DemoError::Stage(error.into()))
    }

    async fn roles(&self) -> Result<i64, DemoError> {
        let client = self.stage.postgres.connect("postgres").await?;
        let row = client
            .query_one("SELECT count(*) FROM pg_roles WHERE rolname ~ '^hp_'", &[])
            .await?;
        Ok(row.get(0))
    }

    async fn expect_roles(&self, expected: i64) -> Result<(), DemoError> {
        let found = self.roles().await?;
        expect(
            &found.to_string(),
            &expected.to_string(),
            "the number of leased roles",
        )
    }

    fn title(&mut self, text: &str) {
        self.step = self.step.saturating_add(1);
        (self.tell)("");
        (self.tell)(&format!("{}. {text}", self.step));
    }

    fn say(&mut self, text: &str) {
        (self.tell)(&format!("    {text}"));
    }

    fn did(&mut self, text: &str) {
        (self.tell)(&format!("  * {text}"));
    }
}

impl Login {
    fn read(body: &Value) -> Result<Self, DemoError> {
        let member = |name: &str| text(body, &format!("/hallpass/credential/{name}"));
        let port = body
            .pointer("/hallpass/credential/port")
            .and_then(Value::as_u64);
        Ok(Self {
            username: member("username")?,
            password: member("password")?,
            database: member("database")?,
            options: member("options").unwrap_or_default(),
            host: member("host")?,
            port: port
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or_default(),
        })
    }

    /// Logs in with exactly what the job was given.
    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.username)
            .password(&self.password)
            .dbname(&self.database)
            .options(&self.options)
            .connect_timeout(Duration::from_secs(5));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

fn check(file: &Path, heads: Vec<Head>) -> Result<Report, DemoError> {
    let expected = Expected {
        keys: Vec::new(),
        heads,
        after: None,
    };
    let mut verification = Verification::new(expected);
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    verification.read(
        name.as_deref().unwrap_or("audit"),
        BufReader::new(fs::File::open(file)?),
    )?;
    Ok(verification.finish())
}

fn is_refused_login(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    })
}

fn text(body: &Value, pointer: &str) -> Result<String, DemoError> {
    body.pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| DemoError::Otherwise(format!("the answer has no text at `{pointer}`")))
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => escape(text),
        Some(Value::Null) | None => "absent".to_owned(),
        Some(other) => escape(&other.to_string()),
    }
}

fn expect_status(reply: &Reply, expected: u16) -> Result<(), DemoError> {
    if reply.status == expected {
        return Ok(());
    }
    let said = plain(reply.body.get("error_description"));
    Err(DemoError::Otherwise(format!(
        "the broker answered {}, expected {expected}: {said}",
        reply.status
    )))
}

fn expect(found: &str, expected: &str, what: &str) -> Result<(), DemoError> {
    if found == expected {
        return Ok(());
    }
    Err(DemoError::Otherwise(format!(
        "{what} is `{}`, expected `{}`",
        escape(found),
        escape(expected)
    )))
}

const SWEEP_POLLS: u32 = 200;
const SWEEP_POLL: Duration = Duration::from_millis(100);
