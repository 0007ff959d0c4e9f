//! `hallpass target check --contract`: does the other side keep each rule of the contract?
//!
//! Every rule is tried against the other side as it runs, with throw-away leases of a minute; one of a day is asked
//! for, which must be refused.
//! A rule is one line: kept, or what was answered in its place.

use serde_json::{Value, json};

use super::Webhook;
use super::check::login;
use super::contract::{CREATE, END, LONGEST_LIFE, PAGE, SHORT, code};
use super::peer::Answer;
use super::token::TYPE;
use crate::credential::database::findings::{Findings, throw_away};
use crate::credential::database::{DatabaseError, Order};
use crate::credential::target::Finding;
use crate::lease::LeaseName;
use crate::rootkey::RootKeys;

pub(super) type Outcome = Result<(), String>;

impl Webhook {
    /// Each rule, kept or broken.
    pub(super) async fn check_contract(&self, signer: (&str, &RootKeys)) -> Vec<Finding> {
        let mut findings = Findings::default();
        match self.ask_to_check().await {
            Ok(checked) => self.judge(&checked, &mut findings),
            Err(error) => {
                findings.error(format!("check: it {error}"), FIX);
                return findings.into_vec();
            }
        }
        let Some(group) = self.settings.groups.first() else {
            return findings.into_vec();
        };
        let order = || throw_away(signer, group, self.clock.now()).map_err(|error| error.message);
        match order() {
            Ok(order) => self.try_signatures(&order, &mut findings).await,
            Err(error) => findings.error(error, FIX),
        }
        for part in [Part::Life, Part::Refusals, Part::Unknown, Part::AtOnce] {
            match order() {
                Ok(order) => self.try_part(part, &order, &mut findings).await,
                Err(error) => findings.error(error, FIX),
            }
        }
        findings.into_vec()
    }

    async fn try_part(&self, part: Part, order: &Order, findings: &mut Findings) {
        let (lease, later) = match (self.lease(order, 0), self.lease(order, 1)) {
            (Ok(lease), Ok(later)) => (lease, later),
            (Err(problem), _) | (_, Err(problem)) => return findings.no_name(&problem),
        };
        let name = lease.to_string();
        match part {
            Part::Life => self.try_life(order, (&lease, &later), findings).await,
            Part::Refusals => self.try_refusals(order, &lease, findings).await,
            Part::Unknown => self.try_unknown(order, &lease, findings).await,
            Part::AtOnce => {
                let outcome = self.try_at_once(order, &lease).await;
                findings.rule("five requests at once make one lease", outcome);
            }
        }
        let ended = self.end(&name).await;
        if !ended.is_ok_and(|ended| ended.ended) {
            findings.error(
                format!("the throw-away lease `{name}` cannot be ended"),
                FIX,
            );
        }
    }

    async fn try_life(
        &self,
        order: &Order,
        (lease, later): (&LeaseName, &LeaseName),
        findings: &mut Findings,
    ) {
        let name = lease.to_string();
        let asked = body(lease, order, json!({}));
        let made = |created| {
            let (order, name) = (&order, &name);
            move |answer: Value| {
                let is_right = answer.get("created") == Some(&json!(created))
                    && answer.get("name") == Some(&json!(name))
                    && answer.get("record") == Some(&json!(order.record))
                    && answer.get("group") == Some(&json!(order.wanted.group));
                expect(is_right, "another `created`, `name`, `group` or `record`")
            }
        };
        let first = self.answered(CREATE, &asked).await.and_then(made(true));
        findings.rule("create makes a lease", first);
        let again = self.answered(CREATE, &asked).await.and_then(made(false));
        findings.rule("create again finds it", again);
        let asked_later = body(later, order, json!({}));
        let other = self.answered(CREATE, &asked_later).await;
        let other = other.and_then(made(false));
        findings.rule("create of the same `id` with another name finds it", other);
        let found = body(later, order, json!({ "may_create": false }));
        let found = self.answered(CREATE, &found).await.and_then(made(false));
        findings.rule("create with `may_create: false` finds it", found);
        let listed = self.is_listed(&name, Some(order)).await;
        findings.rule("list has it once, with group, record and holder", listed);
        let foreign = self.end(&later.to_string()).await;
        let foreign = foreign.map_err(|error| error.to_string());
        let foreign = match foreign {
            Ok(_) => self.is_listed(&name, Some(order)).await,
            Err(error) => Err(error),
        };
        findings.rule("end of another name with its `id` leaves it", foreign);
        for rule in ["end ends it", "end again is an end"] {
            let ended = self.end(&name).await.map_err(|error| error.to_string());
            findings.rule(
                rule,
                ended.and_then(|ended| expect(ended.ended, "`ended: false`")),
            );
        }
        let gone = self.is_listed(&name, None).await;
        findings.rule("list no longer has it", gone);
        for (rule, asked) in [
            ("an ended lease is not made again", &asked),
            ("its `id` is not used again", &asked_later),
        ] {
            findings.rule(rule, self.refusal(CREATE, asked, code::ENDED).await);
        }
    }

    async fn try_refusals(&self, order: &Order, lease: &LeaseName, findings: &mut Findings) {
        let found = body(lease, order, json!({ "may_create": false }));
        let outcome = self.refusal(CREATE, &found, code::ENDED).await;
        findings.rule("create with `may_create: false` makes nothing", outcome);
        let group = body(lease, order, json!({ "group": "hallpass-no-such-group" }));
        let outcome = self.refusal(CREATE, &group, code::GROUP).await;
        findings.rule("a group that it does not have is refused", outcome);
        let id = body(lease, order, json!({ "id": "0000000000000" }));
        let outcome = self.refusal(CREATE, &id, code::FORM).await;
        findings.rule("a name with another `id` is refused", outcome);
        let long = LONGEST_LIFE.saturating_mul(24);
        match self.lease(order, long) {
            Ok(long) => {
                let asked = body(&long, order, json!({}));
                let outcome = self.refusal(CREATE, &asked, code::CEILING).await;
                findings.rule("a life of more than an hour is refused", outcome);
                let name = long.to_string();
                if !self.end(&name).await.is_ok_and(|ended| ended.ended) {
                    findings.error(
                        format!("the throw-away lease `{name}` cannot be ended"),
                        "end it by hand: it lives for a day",
                    );
                }
            }
            Err(problem) => findings.no_name(&problem),
        }
        match self.lease(order, PAST) {
            Ok(past) => {
                let asked = body(&past, order, json!({}));
                let outcome = self.refusal(CREATE, &asked, code::ENDED).await;
                findings.rule("a lease that would be over is not made", outcome);
            }
            Err(problem) => findings.no_name(&problem),
        }
        let name = body(lease, order, json!({ "name": "admin" }));
        let outcome = self.refusal(CREATE, &name, code::FORM).await;
        if outcome.is_err() {
            findings.warn(
                "it may have made a login `admin`".to_owned(),
                "remove the login `admin` there",
            );
        }
        findings.rule("a name that is no lease's is not made", outcome);
        let admin = json!({ "name": "admin" }).to_string();
        let outcome = self.refusal(END, admin.as_bytes(), code::FORM).await;
        findings.rule("a name that is no lease's is not ended", outcome);
        for (rule, text) in [
            ("a body that is no JSON is refused", "{"),
            ("a body of another form is refused", "[]"),
        ] {
            let outcome = self.refusal(CREATE, text.as_bytes(), code::FORM).await;
            findings.rule(rule, outcome);
        }
        let outcome = self.is_listed(&lease.to_string(), None).await;
        findings.rule("a refusal makes nothing", outcome);
    }

    /// The end may come before the request to create, on another way.
    async fn try_unknown(&self, order: &Order, lease: &LeaseName, findings: &mut Findings) {
        let ended = self.end(&lease.to_string()).await;
        let ended = ended.map_err(|error| error.to_string());
        let ended = ended.and_then(|ended| expect(ended.ended, "`ended: false`"));
        findings.rule("end of a lease that was never made is an end", ended);
        let asked = body(lease, order, json!({}));
        let outcome = self.refusal(CREATE, &asked, code::ENDED).await;
        findings.rule("it is not made afterwards", outcome);
    }

    async fn try_at_once(&self, order: &Order, lease: &LeaseName) -> Outcome {
        let asked = body(lease, order, json!({}));
        let answers = (0..5).map(|_| self.answered(CREATE, &asked));
        let mut made = 0_u8;
        for answer in futures_util::future::join_all(answers).await {
            let created = answer?.get("created").and_then(Value::as_bool);
            made = made.saturating_add(u8::from(created.ok_or("no `created`")?));
        }
        expect(made == 1, &format!("{made} of them say `created: true`"))?;
        self.is_listed(&lease.to_string(), Some(order)).await
    }

    /// The name of an order's lease that lives that much longer.
    pub(super) fn lease(&self, order: &Order, longer: i64) -> Result<LeaseName, String> {
        let ends = self.clock.now().plus(i64::from(order.life)).plus(longer);
        let name = LeaseName::new(&self.settings.prefix, ends, &order.random);
        name.map_err(|error| error.to_string())
    }

    async fn signed(&self, path: &str, body: &[u8]) -> Result<Answer, String> {
        let text = |error: DatabaseError| error.to_string();
        let claims = self.peer.claims(path, body).map_err(text)?;
        let token = claims.sign(&self.peer.keys(), TYPE, self.clock.now())?;
        let sent = self.peer.send(path, body.to_vec(), Some(&token), SHORT);
        sent.await.map_err(text)
    }

    async fn answered(&self, path: &str, body: &[u8]) -> Result<Value, String> {
        let answer = self.signed(path, body).await?;
        let found = serde_json::from_slice(answer.body.expose());
        match found {
            Ok(found) if answer.status == 200 => Ok(found),
            Ok(_) | Err(_) => Err(format!(
                "status {}, expected 200 with an answer of the contract",
                answer.status
            )),
        }
    }

    /// A refusal of this code.
    async fn refusal(&self, path: &str, body: &[u8], code: &str) -> Outcome {
        let answer = self.signed(path, body).await?;
        let refusal = answer.refusal().filter(|refusal| refusal.error == code);
        let status = answer.status;
        let is_right = refusal.is_some() && status != 401;
        expect(
            is_right,
            &format!("status {status}, expected 4xx with `error` `{code}`"),
        )
    }

    /// Whether the list has it once, as it was ordered; without an order, that the list does not have it.
    pub(super) async fn is_listed(&self, name: &str, order: Option<&Order>) -> Outcome {
        let mut after = String::new();
        let mut found = 0_u32;
        for limit in std::iter::once(1).chain(std::iter::repeat_n(PAGE, MOST_PAGES)) {
            let page = self.page(&after, limit).await;
            let page = page.map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.name);
            for lease in page.iter().filter(|lease| lease.name == name) {
                found = found.saturating_add(1);
                let listed = [&lease.group, &lease.record, &lease.holder];
                let is_whole = order.is_none_or(|order| {
                    let sent = [&order.wanted.group, &order.record, &order.holder_hash];
                    listed == sent
                });
                expect(
                    is_whole,
                    "another `group`, `record` or `holder` than was sent",
                )?;
            }
            if page.len() < limit {
                break;
            }
        }
        let expected = u32::from(order.is_some());
        expect(
            found == expected,
            &format!("it is listed {found} times, expected {expected}"),
        )
    }
}

impl Findings {
    pub(super) fn no_name(&mut self, problem: &str) {
        self.error(
            format!("the name of a lease cannot be made: {problem}"),
            "use a shorter `prefix`",
        );
    }

    pub(super) fn rule(&mut self, rule: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => self.fine(format!("kept: {rule}")),
            Err(problem) => self.error(format!("broken: {rule}: {problem}"), FIX),
        }
    }
}

/// What of the contract is tried with one lease.
#[derive(Clone, Copy)]
enum Part {
    Life,
    Refusals,
    Unknown,
    AtOnce,
}

pub(super) fn body(lease: &LeaseName, order: &Order, change: Value) -> Vec<u8> {
    let (name, asked) = (lease.to_string(), login(order));
    let ends = lease.expires_at().unix();
    let mut body = json!({
        "name": name,
        "id": asked.random,
        "group": asked.group,
        "password": asked.password.expose(),
        "expires_at": ends,
        "remember_until": ends,
        "record": asked.record,
        "holder": asked.holder,
        "may_create": true,
    });
    if let (Value::Object(body), Value::Object(change)) = (&mut body, change) {
        body.extend(change);
    }
    body.to_string().into_bytes()
}

fn expect(is_right: bool, problem: &str) -> Outcome {
    if is_right {
        return Ok(());
    }
    Err(problem.to_owned())
}

const FIX: &str = "see the rule in docs/databases/webhook.md";
const MOST_PAGES: usize = 100;
/// Seconds: longer ago than clocks may differ.
const PAST: i64 = -600;
