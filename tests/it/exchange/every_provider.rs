//! Every sample token, signed, through the real router.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use hallpass::config::Limits;
use hallpass::provider::{Audience, Fact, Kind, ORDINARY_TRIGGERS, PROVIDERS, Provider};
use hallpass::provider::{address, find};
use hallpass::token::TrustedIssuer;
use hallpass::token::keys::FileKeys;
use serde_json::{Value, json};

use crate::provider::{object, provider_of, reader, vector};
use crate::support::TestBroker;
use crate::support::tokens::{AUDIENCE, TestKey, jwks};

/// A sample token.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) provider: &'static Provider,
    /// What the token says of the job.
    pub(super) expected: Value,
}

impl Sample {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let Value::Object(all) = vector("expected.json") else {
            panic!("expected.json is an object");
        };
        let sample = |(name, expected): (String, Value)| Self {
            provider: find(provider_of(&name)).unwrap(),
            name,
            expected,
        };
        all.into_iter().map(sample).collect()
    }

    /// The address of its issuer. A token of SPIFFE has none: there it is where the keys are.
    pub(super) fn url(&self) -> String {
        let claims = vector(&self.name);
        let issuer = claims["iss"].as_str();
        issuer
            .unwrap_or("https://oidc.prod.acme.example")
            .to_owned()
    }

    /// The token's claims as a job would get them for this broker. `id` makes it a token of its own.
    pub(super) fn claims(&self, id: &str) -> Value {
        let mut claims = vector(&self.name);
        let others = claims["aud"].clone();
        claims["aud"] = match self.provider.rules.audience {
            Audience::Own if others.is_array() => json!([AUDIENCE]),
            Audience::Own => json!(AUDIENCE),
            Audience::Beside => json!([default_audience(&others), AUDIENCE]),
            Audience::Fixed(_) | Audience::Issuer | Audience::IssuerHost => others,
        };
        if claims.get("jti").is_some() {
            claims["jti"] = json!(format!("{id} of {}", self.name));
        }
        claims
    }

    /// The trigger that the token tells, if a policy must name it.
    fn extraordinary_trigger(&self) -> Option<String> {
        let facts = reader(self.provider.name, &self.url());
        let facts = facts.facts(object(&vector(&self.name))).unwrap();
        let trigger = facts.text(Fact::Trigger)?;
        (!ORDINARY_TRIGGERS.contains(&trigger)).then(|| trigger.to_owned())
    }

    /// A block of `tenants` that the token fits, by the best ID that it has.
    fn tenant(&self) -> String {
        let ids = self.provider.tenant_ids.iter().map(|id| id.name());
        // Buildkite's token has IDs only if the job asks for them.
        let mut ids = ids.chain(["owner"]);
        let id = ids.find(|id| self.expected.get(id).is_some()).unwrap();
        format!("{{ {id}: {} }}", self.expected[id])
    }

    /// A policy that wants every fact of the token.
    fn policy(&self, issuer: &str) -> String {
        let mut when = Vec::new();
        for (fact, value) in self.expected.as_object().unwrap() {
            // A short base is no ref, and no policy names it.
            if fact == "base_ref" {
                continue;
            }
            when.push(if value.is_object() {
                let (path, r#ref) = (&value["path"], &value["ref"]);
                format!("{fact}: {{ path: {path}, ref: {ref} }}")
            } else {
                format!("{fact}: {value}")
            });
        }
        let trigger = self.extraordinary_trigger();
        when.extend(trigger.map(|word| format!("trigger: {word}")));
        let label = self.name.replace('.', "-");
        let when = when.join(", ");
        format!(
            "  - {{ name: {label}, issuer: {issuer}, when: {{ {when} }}, grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
        )
    }
}

fn default_audience(audiences: &Value) -> &Value {
    audiences.get(0).unwrap_or(audiences)
}

/// An issuer of sample tokens.
struct Issuer {
    label: String,
    provider: &'static Provider,
    tenants: BTreeSet<String>,
    audiences: BTreeSet<String>,
}

impl Issuer {
    fn entry(&self, url: &str) -> String {
        let Self {
            label, provider, ..
        } = self;
        let name = provider.name;
        let mut entry = format!("  {label}: {{ provider: {name}, url: \"{url}\"");
        if address::known(url).is_some_and(|known| known.is_shared) {
            let tenants: Vec<&str> = self.tenants.iter().map(String::as_str).collect();
            write!(entry, ", tenants: [ {} ]", tenants.join(", ")).unwrap();
        }
        if name == "spiffe" {
            entry.push_str(", trust_domain: prod.acme.example");
        }
        match provider.rules.audience {
            Audience::Own => {}
            Audience::Beside => {
                let audiences: Vec<&str> = self.audiences.iter().map(String::as_str).collect();
                write!(entry, ", audiences: [ {} ]", audiences.join(", ")).unwrap();
            }
            Audience::Fixed(_) | Audience::Issuer | Audience::IssuerHost => {
                entry.push_str(", shared_audience: accepted");
            }
        }
        entry + " }\n"
    }

    /// The key as the provider publishes it.
    fn keys(&self, url: &str, key: &TestKey, keys: FileKeys) -> FileKeys {
        let key_use = self.provider.rules.key_use.map(str::to_owned);
        let mut jwk = key.jwk();
        if let Some(key_use) = &key_use {
            jwk["use"] = json!(key_use);
        }
        let trusted = TrustedIssuer {
            key_use,
            ..TrustedIssuer::new(&self.label, url)
        };
        keys.with_document(&trusted, &jwks(&[jwk])).unwrap()
    }
}

/// A broker with a policy for each sample token, and the key of all issuers.
pub(super) async fn broker_of(samples: &[Sample]) -> (TestBroker, TestKey) {
    let key = TestKey::rsa("k1");
    let (mut issuers, mut policies) = (BTreeMap::new(), String::new());
    for sample in samples {
        let issuer = issuers.entry(sample.url()).or_insert_with(|| Issuer {
            label: sample.name.replace('.', "-"),
            provider: sample.provider,
            tenants: BTreeSet::new(),
            audiences: BTreeSet::new(),
        });
        if address::known(&sample.url()).is_some_and(|known| known.is_shared) {
            issuer.tenants.insert(sample.tenant());
        }
        let audiences = &vector(&sample.name)["aud"];
        issuer
            .audiences
            .insert(default_audience(audiences).to_string());
        policies.push_str(&sample.policy(&issuer.label));
    }
    let mut entries = String::new();
    let mut keys = FileKeys::new();
    for (url, issuer) in &issuers {
        entries.push_str(&issuer.entry(url));
        keys = issuer.keys(url, &key, keys);
    }
    let text = format!(
        "issuers:\n{entries}credentials:\n  api: {{ kind: jwt, audience: https://a.test, max_ttl: 10m, owner: o, purpose: p, class: low }}\npolicies:\n{policies}"
    );
    let limits = Limits {
        per_repository: 100_000,
        ..Limits::default()
    };
    let broker = TestBroker::builder().policies(&text).limits(limits);
    let broker = broker.keys(Arc::new(keys));
    (broker.start().await, key)
}

/// T-335, T-341: a job gets its credential by facts alone, and not with another ID, of another
/// organisation's issuer, or with an audience that is not the one of its CI.
#[tokio::test]
async fn a_signed_token_of_every_provider_gets_what_its_facts_allow() {
    let samples = Sample::all();
    assert_eq!(samples.len(), 33);
    let (broker, key) = broker_of(&samples).await;
    let mut seen = BTreeSet::new();
    for sample in &samples {
        let (name, provider) = (&sample.name, sample.provider);
        seen.insert(provider.name);
        let claims = sample.claims("the job");
        let answer = broker.exchange(&key.token(&claims), "api").await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        // The same job, with an audience that no token of its CI has, or not ours.
        let mut other = sample.claims("another audience");
        other["aud"] = match provider.rules.audience {
            Audience::Own | Audience::Beside => json!("https://other.example"),
            Audience::Fixed(_) | Audience::Issuer | Audience::IssuerHost => json!(AUDIENCE),
        };
        let answer = broker.exchange(&key.token(&other), "api").await;
        assert_eq!(answer.reason(), "token.audience", "{name}");
        // Bitbucket's own audience is in every token, and is not enough.
        if provider.rules.audience == Audience::Beside {
            let mut other = sample.claims("no audience of its own");
            other["aud"] = other["aud"][0].clone();
            let answer = broker.exchange(&key.token(&other), "api").await;
            assert_eq!(answer.reason(), "token.audience", "{name}");
        }
        // Another job of the same issuer.
        for line in provider.claims {
            let is_id = line.kind == Kind::Id && !line.facts.is_empty() && line.name != "iss";
            let pointer = line.pointer();
            let mut other = sample.claims(line.name);
            let Some(id) = other.pointer_mut(&pointer).filter(|id| is_id && **id != "") else {
                continue;
            };
            *id = if id.is_number() {
                json!(7)
            } else {
                json!("00000")
            };
            let answer = broker.exchange(&key.token(&other), "api").await;
            assert_ne!(answer.status, 200, "{name}: {}", line.name);
        }
    }
    let untried = PROVIDERS.iter().map(|provider| provider.name);
    let untried: Vec<_> = untried.filter(|name| !seen.contains(name)).collect();
    // They have tests of their own.
    assert_eq!(untried, ["people", "generic"]);
}

/// T-335: without the word of its administrator, an issuer whose tokens are for any service is not
/// trusted.
#[test]
fn a_shared_audience_is_accepted_by_name_only() {
    let rules = |more: &str, provider: &str, url: &str| {
        let text = format!("issuers:\n  a: {{ provider: {provider}, url: \"{url}\"{more} }}\n");
        match hallpass::policy::PolicySet::from_texts(&[("root.yaml", &text)]) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|error| error.rule).collect(),
        }
    };
    let azure = "https://vstoken.dev.azure.com/4d2f8b61";
    assert_eq!(rules("", "azure-devops", azure), ["shared-audience"]);
    let more = ", shared_audience: yes-please";
    assert_eq!(rules(more, "azure-devops", azure), ["shared-audience"]);
    let more = ", shared_audience: accepted";
    assert_eq!(rules(more, "azure-devops", azure), [""; 0]);
    let own = "https://forge.example/api/actions";
    assert_eq!(rules(more, "forgejo", own), ["unknown-key"]);
}
