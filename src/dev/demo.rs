//! The steps of `hallpass demo`: a job gets a login and a token, others are refused, a lease ends early and
//! another on time, the record proves complete, and a change of the policies is compared.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::issuer::{GithubJob, github_claims};
use super::postgres::connect;
use super::stage::{Reply, Stage, StageError, fresh_key, masked};
use crate::audit::Head;
use crate::audit::verify::{Expected, Report, Verification};
use crate::clock::{Clock as _, SystemClock};
use crate::reason::Reason;
use crate::text::escape;
use crate::token::{Admission, Algorithm, KeySet, verify_jws};

mod change;

/// Receives the output, line by line.
pub type Print<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Runs the steps on a running stage. A step that does not do what it says ends the demo.
///
/// # Errors
/// The first step that did not, with what was found and what was expected.
pub async fn run(stage: &Stage, print: Print<'_>) -> Result<(), DemoError> {
    let mut demo = Demo {
        stage,
        print,
        clock: SystemClock::new(),
        step: 0,
    };
    let migrated = demo.migrate().await?;
    demo.sign_a_token().await?;
    demo.refuse_a_branch().await?;
    demo.refuse_another_repository().await?;
    demo.repeat(&migrated).await?;
    demo.revoke(&migrated).await?;
    demo.expire().await?;
    demo.prove_the_record()?;
    demo.compare_a_change()
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

struct Demo<'a> {
    stage: &'a Stage,
    print: Print<'a>,
    clock: SystemClock,
    step: u32,
}

impl DemoError {
    fn otherwise(problem: impl Into<String>) -> Self {
        Self::Otherwise(problem.into())
    }
}

/// What the first job got, for the steps after it.
struct Migrated {
    token: String,
    key: String,
    login: Config,
    lease: String,
    session: Client,
}

impl Demo<'_> {
    /// Step 1: the whole way from a CI token to a table.
    async fn migrate(&mut self) -> Result<Migrated, DemoError> {
        self.title("A job of acme/shop on main, environment production, asks for shop-db/migrate");
        let token = self.production_token()?;
        let key = fresh_key()?.expose().clone();
        let body = self.get(MIGRATE, &token, Some(&key), &[]).await?;
        let login = login(&body)?;
        let lease = text(&body, "/hallpass/lease")?;
        let (until, policy) = ("/hallpass/expires_at", "/hallpass/policy");
        let password = text(&body, "/hallpass/credential/password")?;
        self.say(&format!("user {}", login.get_user().unwrap_or_default()));
        self.say(&format!("password {}", masked(&password)));
        self.say(&format!("until {}", text(&body, until)?));
        self.say(&format!("by policy {}", text(&body, policy)?));
        let session = connect(&login).await?;
        self.did("logged in with it; the user did not exist a second ago");
        session
            .batch_execute("CREATE TABLE shop.parcels (id int PRIMARY KEY, weight int)")
            .await?;
        let sql = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'parcels'";
        let owner: String = session.query_one(sql, &[]).await?.get(0);
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
        let token = self.production_token()?;
        let scope = [("scope", "deploy:staging")];
        let body = self.get("deploy-api", &token, None, &scope).await?;
        let minted = text(&body, "/access_token")?;
        self.say(&format!("token {}", masked(&minted)));
        let keys = self.stage.get("/.well-known/jwks.json").await?;
        let (keys, algorithms) = (keys.body.to_string(), [Algorithm::ES256]);
        let keys = KeySet::from_jwks(keys.as_bytes(), &Admission::new(&algorithms))
            .map_err(|error| DemoError::otherwise(error.to_string()))?;
        let payload = verify_jws(&minted, &keys, &algorithms)
            .map_err(|error| DemoError::otherwise(error.to_string()))?;
        let claims: Value = serde_json::from_slice(&payload)
            .map_err(|error| DemoError::otherwise(error.to_string()))?;
        for (pointer, expected) in [
            ("/aud", "https://deploy.acme.dev"),
            ("/iss", &self.stage.url),
            ("/sub", "credential/deploy-api"),
        ] {
            let what = format!("`{pointer}` of the token");
            expect(&text(&claims, pointer)?, expected, &what)?;
        }
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
        let body = self.refused(MIGRATE, &token).await?;
        expect(&text(&body, "/error")?, "invalid_request", "`error`")?;
        self.say(&text(&body, "/error_description")?);
        let conditions = body.get("failed_conditions").and_then(Value::as_array);
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
        let mut facts = conditions.iter().filter_map(|one| one.get("fact"));
        if !(facts.clone().any(|fact| fact == "ref") && facts.any(|fact| fact == "environment")) {
            let problem = "the denial does not name `ref` and `environment`";
            return Err(DemoError::otherwise(problem));
        }
        self.did("denied: the job learns which facts failed, for its own repository");
        Ok(())
    }

    /// Step 4: who does not belong here learns nothing.
    async fn refuse_another_repository(&mut self) -> Result<(), DemoError> {
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
            let body = self.refused(credential, &token).await?;
            heard.push(text(&body, "/error_description")?);
            if body.get("failed_conditions").is_some() {
                return Err(DemoError::otherwise(
                    "an unrelated job was shown conditions",
                ));
            }
        }
        let [first, second] = heard.as_slice() else {
            return Err(DemoError::otherwise("two answers were expected"));
        };
        let what = "the response to an unrelated job about a credential that does not exist";
        expect(second, first, what)?;
        self.say(first);
        self.did("denied: an unrelated job always gets the same sentence");
        Ok(())
    }

    /// Step 5: retries are safe, copies are not.
    async fn repeat(&mut self, migrated: &Migrated) -> Result<(), DemoError> {
        self.title("The first exchange again: with its Idempotency-Key, and without");
        let key = Some(migrated.key.as_str());
        let again = login(&self.get(MIGRATE, &migrated.token, key, &[]).await?)?;
        if again != migrated.login {
            return Err(DemoError::otherwise("the repeat has another login"));
        }
        self.did("with the key: the same user and the same password, never a second user");
        let body = self.refused(MIGRATE, &migrated.token).await?;
        let reason = Reason::TokenReplayed.code();
        expect(&text(&body, "/reason")?, reason, "`reason`")?;
        self.say(&text(&body, "/error_description")?);
        self.did("without it: token.replayed, as for a token copied from a log");
        Ok(())
    }

    /// Step 6: revocation is not only a dropped name.
    async fn revoke(&mut self, migrated: &Migrated) -> Result<(), DemoError> {
        self.title("The lease is revoked while its session is open");
        migrated.session.simple_query("SELECT 1").await?;
        let form = [("token", migrated.lease.as_str())];
        let reply = self.stage.post("/revoke", &form, None).await?;
        self.say(&format!("POST /revoke: {}", reply.status));
        expect_status(&reply, 200)?;
        if migrated.session.simple_query("SELECT 1").await.is_ok() {
            return Err(DemoError::otherwise("the session is still open"));
        }
        self.did("the open session was ended");
        match connect(&migrated.login).await {
            Err(error) if is_refused_login(&error) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(DemoError::otherwise("a new login succeeded")),
        }
        self.did("a new login fails");
        self.expect_roles(0).await?;
        self.did("no role is left");
        let shop = self.stage.database(TARGET)?.connect("shop").await?;
        shop.query_one("SELECT count(*) FROM shop.parcels", &[])
            .await?;
        self.did("the table is still there");
        Ok(())
    }

    /// Step 7: a login that is not revoked ends on time.
    async fn expire(&mut self) -> Result<(), DemoError> {
        self.title("A second job gets a login for 5 seconds, which is not revoked");
        let token = self.production_token()?;
        let body = self.get(MIGRATE, &token, None, &[("ttl", "5s")]).await?;
        let login = login(&body)?;
        self.say(&format!("user {}", login.get_user().unwrap_or_default()));
        let session = connect(&login).await?;
        self.expect_roles(1).await?;
        self.did("logged in; its expiry is part of its name, so every replica knows it");
        for _ in 0..SWEEP_POLLS {
            if self.roles().await? == 0 {
                if session.simple_query("SELECT 1").await.is_ok() {
                    return Err(DemoError::otherwise("its session is still open"));
                }
                self.did("the sweep, every 2 s here, ended its session and dropped it");
                return Ok(());
            }
            tokio::time::sleep(SWEEP_POLL).await;
        }
        Err(DemoError::otherwise("the sweep did not remove it"))
    }

    /// Step 8: the record shows what was done to it.
    fn prove_the_record(&mut self) -> Result<(), DemoError> {
        self.title("The audit log is complete, and shows when it is not");
        let file = self.stage.audit_file();
        let lines = fs::read_to_string(&file)?;
        let whole = check(&file, Vec::new())?;
        if let Some(finding) = whole.findings.first() {
            let problem = format!("a finding in a complete log: {finding}");
            return Err(DemoError::otherwise(problem));
        }
        self.did(&format!(
            "hallpass audit verify audit.jsonl: {} lines, complete",
            whole.lines
        ));
        let head = whole.head.as_deref().and_then(Head::parse);
        let head = head.ok_or_else(|| DemoError::otherwise("the log has no head"))?;
        let copy = self.stage.folder().join("copy.jsonl");

        fs::write(&copy, lines.replacen(MIGRATE, "shop-db/migrat3", 1))?;
        let changed = check(&copy, Vec::new())?;
        self.expect_finding(&changed, "one byte of a copy is changed")?;

        let mut kept: Vec<&str> = lines.lines().collect();
        kept.truncate(kept.len().saturating_sub(2));
        fs::write(&copy, format!("{}\n", kept.join("\n")))?;
        let cut = check(&copy, vec![head])?;
        self.expect_finding(&cut, "its tail is cut off (--expect-head)")
    }

    fn expect_finding(&mut self, report: &Report, what: &str) -> Result<(), DemoError> {
        let finding = report.findings.first();
        let finding = finding
            .ok_or_else(|| DemoError::otherwise(format!("{what}, and nothing was found")))?;
        self.did(&format!("{what}: found"));
        self.say(&finding.to_string());
        Ok(())
    }

    /// The answer to a request that the broker permits.
    async fn get(
        &mut self,
        credential: &str,
        token: &str,
        key: Option<&str>,
        more: &[(&str, &str)],
    ) -> Result<Value, DemoError> {
        let reply = self.ask(credential, token, key, more).await?;
        expect_status(&reply, 200)?;
        Ok(reply.body)
    }

    /// The answer to a request that the broker refuses.
    async fn refused(&mut self, credential: &str, token: &str) -> Result<Value, DemoError> {
        let reply = self.ask(credential, token, None, &[]).await?;
        expect_status(&reply, 400)?;
        Ok(reply.body)
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
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token_type", ID_TOKEN),
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

    /// The token of a job that deploys.
    fn production_token(&self) -> Result<String, DemoError> {
        self.job_token(|job| job.environment = Some("production".to_owned()))
    }

    /// A token of the embedded CI for a push to main, changed by `change`.
    fn job_token(&self, change: impl FnOnce(&mut GithubJob)) -> Result<String, DemoError> {
        let issuer = self.stage.issuer("github")?;
        let mut job = GithubJob::new(issuer.url(), &self.stage.url, self.clock.now());
        "702114500".clone_into(&mut job.repository_id);
        "65923871".clone_into(&mut job.owner_id);
        change(&mut job);
        issuer
            .sign(&github_claims(&job))
            .map_err(|error| DemoError::Stage(error.into()))
    }

    async fn roles(&self) -> Result<i64, DemoError> {
        let client = self.stage.database(TARGET)?.connect("postgres").await?;
        let sql = "SELECT count(*) FROM pg_roles WHERE rolname ~ '^hp_'";
        Ok(client.query_one(sql, &[]).await?.get(0))
    }

    async fn expect_roles(&self, expected: i64) -> Result<(), DemoError> {
        let (found, expected) = (self.roles().await?.to_string(), expected.to_string());
        expect(&found, &expected, "the number of leased roles")
    }

    fn title(&mut self, text: &str) {
        self.step = self.step.saturating_add(1);
        (self.print)("");
        (self.print)(&format!("{}. {text}", self.step));
    }

    fn say(&mut self, text: &str) {
        (self.print)(&format!("    {text}"));
    }

    fn did(&mut self, text: &str) {
        (self.print)(&format!("  * {text}"));
    }
}

/// How to log in with exactly what the job was given.
fn login(body: &Value) -> Result<Config, DemoError> {
    let member = |name: &str| text(body, &format!("/hallpass/credential/{name}"));
    let port = body.pointer("/hallpass/credential/port");
    let port = port.and_then(Value::as_u64);
    let mut config = Config::new();
    config
        .host(member("host")?)
        .port(
            port.and_then(|port| port.try_into().ok())
                .unwrap_or_default(),
        )
        .user(member("username")?)
        .password(member("password")?)
        .dbname(member("database")?)
        .options(member("options").unwrap_or_default())
        .connect_timeout(Duration::from_secs(5));
    Ok(config)
}

fn check(file: &Path, heads: Vec<Head>) -> Result<Report, DemoError> {
    let expected = Expected {
        heads,
        ..Expected::default()
    };
    let mut verification = Verification::new(expected);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    verification.read(&name, BufReader::new(fs::File::open(file)?))?;
    Ok(verification.finish())
}

fn is_refused_login(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    })
}

fn text(body: &Value, pointer: &str) -> Result<String, DemoError> {
    let text = body.pointer(pointer).and_then(Value::as_str);
    let missing = || DemoError::otherwise(format!("the answer has no text at `{pointer}`"));
    text.map(str::to_owned).ok_or_else(missing)
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
    Err(DemoError::otherwise(format!(
        "the broker answered {}, expected {expected}: {said}",
        reply.status
    )))
}

fn expect(found: &str, expected: &str, what: &str) -> Result<(), DemoError> {
    if found == expected {
        return Ok(());
    }
    Err(DemoError::otherwise(format!(
        "{what} is `{}`, expected `{}`",
        escape(found),
        escape(expected)
    )))
}

const TARGET: &str = "shop-db";
const MIGRATE: &str = "shop-db/migrate";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const SWEEP_POLLS: u32 = 200;
const SWEEP_POLL: Duration = Duration::from_millis(100);
