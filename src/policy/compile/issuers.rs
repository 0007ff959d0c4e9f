//! `issuers:` whom to trust, and which of their customers we serve.
//!
//! Beside `provider`, an issuer may have: `url` (where it differs from the provider's usual one),
//! `tenants`, `ca` (a PEM file in the folder), `networks` (not globally routable ones that hold it),
//! `key_hosts` (others that serve its keys), `jwks` (its keys in a file), `blocked_kids`; and, where it needs another rule than
//! its provider's: `shared_audience: accepted`, `properties` (repository properties to read, with their types), `algorithms` (default RS256), `audiences` (tolerated beside ours), `token_types`,
//! `max_age` and `max_lifetime` (durations), `leeway` (30s, at most 1m), `kid_required`,
//! `iat_required` (true), `strip_leading_zero` (false), `key_use`; `reuse` (`subject`) and `trust_domain` (SPIFFE). The `generic` provider wants
//! `facts` (fact to JSON pointer) and takes `types` (fact to `text`, `boolean`, `number` or `list`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::claim_map::claim_map;
use super::conditions::{self, About};
use super::trust::{check_address, check_tenants, reuse, trust_domain};
use super::{LoadOptions, PolicyIssuer, pinned, properties, taken};
use crate::policy::files::Folder;
use crate::policy::parse::{self, Raw};
use crate::provider::{self, PROVIDERS, Provider, Reader, Rules, SecondFactor};
use crate::token::issuer::{LONGEST_LIFE, is_same_but_for_spelling};
use crate::token::{Algorithm, TrustedIssuer};
use crate::yaml::Entry;
use crate::yaml::diagnostic::{Diagnostic, Problems, Span, nearest};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader, listed};

/// The issuers of all files, as far as they could be read.
pub(super) struct Issuers {
    list: Vec<PolicyIssuer>,
    /// Names of those too faulty to know whose tokens they are.
    unread: BTreeSet<String>,
    /// Some file could not be read whole, so that there may be more.
    has_gaps: bool,
}

impl Issuers {
    /// Those of a set that was read whole.
    pub(super) const fn of(list: Vec<PolicyIssuer>) -> Self {
        Self {
            list,
            unread: BTreeSet::new(),
            has_gaps: false,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PolicyIssuer> {
        self.list.iter()
    }

    pub(super) fn into_list(self) -> Vec<PolicyIssuer> {
        self.list
    }

    /// The issuer of that name. One that is not defined is reported, unless its definition may be
    /// among what could not be read.
    pub(super) fn find(
        &self,
        yaml: &NodeReader<'_>,
        name: &str,
        span: Span,
    ) -> Option<&PolicyIssuer> {
        let mut all = self.list.iter();
        let found = all.find(|issuer| issuer.reader.issuer.name == name);
        if found.is_some() || self.has_gaps || self.unread.contains(name) {
            return found;
        }
        let names: Vec<_> = self
            .list
            .iter()
            .map(|issuer| issuer.reader.issuer.name.as_str())
            .collect();
        let help = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the issuers are {}", listed(&names)),
        };
        let message = format!("unknown issuer `{name}`");
        yaml.error_help("unknown-issuer", span, message, Some(help));
        None
    }
}

/// Every issuer of all files.
pub(super) fn compile(
    raws: &[Raw],
    has_gaps: bool,
    folder: &mut Folder,
    options: &LoadOptions,
    problems: &Problems,
) -> Issuers {
    let mut issuers: Vec<PolicyIssuer> = Vec::new();
    let mut unread = BTreeSet::new();
    for raw in raws {
        for entry in &raw.issuers {
            let yaml = NodeReader::new(&raw.source, problems);
            let Some(issuer) = issuer(&yaml, entry, folder) else {
                unread.insert(entry.key.text.clone());
                continue;
            };
            if let Some(problem) = clash(&issuer, &issuers) {
                problems.push(problem);
            } else {
                issuers.push(issuer);
            }
        }
    }
    for issuer in &mut issuers {
        if let Some(over) = options.issuer_overrides.get(&issuer.reader.issuer.name) {
            let mut trusted = TrustedIssuer::clone(&issuer.reader.issuer);
            trusted.url.clone_from(&over.url);
            trusted.ca.clone_from(&over.ca);
            trusted.networks.clone_from(&over.networks);
            trusted.pinned_keys = None;
            issuer.reader.issuer = Arc::new(trusted);
        }
    }
    Issuers {
        list: issuers,
        unread,
        has_gaps,
    }
}

fn issuer(yaml: &NodeReader<'_>, entry: &Entry, folder: &mut Folder) -> Option<PolicyIssuer> {
    let name = yaml.scalar(&entry.key, entry.span, "the name of an issuer")?;
    let name = parse::name(yaml, name, entry.span, "issuer")?;
    let what = format!("issuer `{name}`");
    let fields = yaml.fields(&entry.value, &what, &KEYS)?;
    let provider = provider_of(yaml, &fields, &what, entry.span)?;
    let url = url(yaml, &fields, provider, &what, entry.span);
    let mut trusted = TrustedIssuer::new(name, url.as_deref().unwrap_or_default());
    follow(&provider.rules, &mut trusted);
    shared_audience(yaml, &fields, provider, &mut trusted, entry.span);
    // Tokens of a trust domain need not say when they were issued.
    trusted.iat_required &= fields.get("trust_domain").is_none();
    verification(yaml, &fields, &mut trusted);
    let second_factor = people(yaml, &fields, provider, &mut trusted, entry.span);
    network(yaml, &fields, &mut trusted, folder);
    pinned::read(yaml, &fields, &mut trusted, folder);
    reuse(yaml, &fields, provider, &mut trusted, &what);
    trust_domain(yaml, &fields, provider, &mut trusted, &what);
    if url.is_some()
        && let Err(problem) = trusted.check()
    {
        yaml.error("issuer", entry.span_of("url"), problem);
    }
    let claim_map = claim_map(yaml, &fields, provider, &what, entry.span);
    let reader = Reader {
        issuer: Arc::new(trusted),
        provider,
        claim_map,
        second_factor,
        pointers: Arc::default(),
        properties: properties::declared(yaml, &fields, provider),
    };
    let tenants = fields.get("tenants").map(|node| {
        conditions::blocks(yaml, node, &About::tenants(&what, &reader)).unwrap_or_default()
    });
    if let Some(url) = &url {
        check_address(yaml, url, provider, &what, entry.span_of("url"));
        let is_shared = provider::address::known(url).is_some_and(|known| known.is_shared);
        if is_shared && !fields.is_misspelt("tenants") {
            check_tenants(yaml, &what, &reader, tenants.as_deref(), entry.span);
        }
    }
    url?;
    Some(PolicyIssuer {
        has_events: reader.has_events(),
        reader,
        tenants,
        place: yaml.place(entry.span),
        url_place: yaml.place(entry.span_of("url")),
    })
}

/// The provider's rules, before those of the issuer.
fn follow(rules: &Rules, trusted: &mut TrustedIssuer) {
    trusted.max_lifetime = rules.max_lifetime;
    trusted.max_age = rules.max_age;
    trusted.algorithms = rules.algorithms.to_vec();
    let types = rules.token_types.iter();
    trusted.token_types = types.map(|text| (*text).to_owned()).collect();
    trusted.iat_required = rules.iat_required;
    trusted.key_use = rules.key_use.map(str::to_owned);
    trusted.strip_leading_zero = rules.strip_leading_zero;
}

/// `shared_audience: accepted`: that a token for any service is taken here, where the CI has no others
/// (T-335).
fn shared_audience(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &Provider,
    trusted: &mut TrustedIssuer,
    at: Span,
) {
    let key = "shared_audience";
    let fixed = provider.rules.audience.fixed(&trusted.url);
    match (fields.get(key), fixed) {
        (Some(node), None) => {
            let message = format!(
                "`{key}` is for a CI whose jobs cannot choose the audience, and those of provider `{}` can",
                provider.name
            );
            yaml.error("unknown-key", node.span, message);
        }
        (None, Some(audience)) => {
            let message = format!(
                "tokens of issuer `{}` always have the audience `{audience}`, so that other services can use them here",
                trusted.name
            );
            let help = format!("write {key}: accepted, and pin ids in `tenants` and policies");
            yaml.error_help("shared-audience", at, message, Some(help));
        }
        (Some(node), Some(audience)) => {
            if yaml.text(node, format!("`{key}`")) == Some("accepted") {
                trusted.shared_audience = Some(audience);
            } else {
                yaml.error(
                    "shared-audience",
                    node.span,
                    format!("`{key}` is `accepted`, or is left out"),
                );
            }
        }
        (None, None) => {}
    }
}

/// `client_id` and `mfa`, which issuers of people have and others have not.
fn people(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &Provider,
    trusted: &mut TrustedIssuer,
    at: Span,
) -> SecondFactor {
    let mut factor = SecondFactor::default();
    if !provider.is_of_people() {
        for key in ["client_id", "mfa"] {
            if let Some(node) = fields.get(key) {
                let message = format!(
                    "`{key}` is for people, and provider `{}` is of jobs",
                    provider.name
                );
                yaml.error("unknown-key", node.span, message);
            }
        }
        return factor;
    }
    let what = format!("issuer `{}`, whose tokens are of people", trusted.name);
    trusted.client_id = yaml
        .required(fields, "client_id", &what, at)
        .and_then(|node| yaml.ascii(node, "`client_id`", MAX_TEXT))
        .map(str::to_owned);
    if let Some(node) = fields.get("mfa")
        && let Some(mapped) = yaml.fields(node, "`mfa`", &["amr", "acr"])
    {
        let list = |key: &str| texts(yaml, &mapped, key).unwrap_or_default();
        factor = SecondFactor {
            amr: list("amr"),
            acr: list("acr"),
        };
        if factor.amr.is_empty() && factor.acr.is_empty() {
            let help = "for example { amr: [mfa] } or { acr: [gold] }";
            yaml.error_help("empty", node.span, "`mfa` is empty", Some(help));
        }
    }
    factor
}

fn provider_of(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    what: &str,
    at: Span,
) -> Option<&'static Provider> {
    let node = yaml.required(fields, "provider", what, at)?;
    let name = yaml.text(node, format!("`provider` of {what}"))?;
    let found = provider::find(name);
    if found.is_none() {
        let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
        let help = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the providers are {}", listed(&names)),
        };
        yaml.error_help(
            "unknown-provider",
            node.span,
            format!("unknown provider `{name}`"),
            Some(help),
        );
    }
    found
}

fn url(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &Provider,
    what: &str,
    at: Span,
) -> Option<String> {
    let Some(node) = fields.get("url") else {
        if provider.usual_issuer.is_none() {
            yaml.error(
                "missing-key",
                at,
                format!("key `url` is missing from {what}"),
            );
        }
        return provider.usual_issuer.map(str::to_owned);
    };
    let text = yaml.ascii(node, format!("`url` of {what}"), MAX_TEXT)?;
    Some(text.to_owned())
}

/// T-40: two issuers must not be told apart by a slash or by case.
fn clash(issuer: &PolicyIssuer, others: &[PolicyIssuer]) -> Option<Diagnostic> {
    for other in others {
        let name = &issuer.reader.issuer.name;
        if *name == other.reader.issuer.name {
            return Some(taken("issuer", name, issuer.place.clone(), &other.place));
        }
        let domain = issuer.reader.issuer.trust_domain.as_deref();
        if domain.is_some() && domain == other.reader.issuer.trust_domain.as_deref() {
            let message = format!(
                "issuers `{name}` and `{}` have the same `trust_domain`, so that a token without `iss` would be of both",
                other.reader.issuer.name
            );
            let place = issuer.place.clone();
            return Some(Diagnostic::error("trust-domain", place, message));
        }
        if is_same_but_for_spelling(&issuer.reader.issuer.url, &other.reader.issuer.url) {
            let message = format!(
                "issuers `{name}` and `{}` have the same `url`, or differ only by case, a slash or the port 443",
                other.reader.issuer.name
            );
            return Some(Diagnostic::error(
                "issuer-url",
                issuer.url_place.clone(),
                message,
            ));
        }
    }
    None
}

fn verification(yaml: &NodeReader<'_>, fields: &Fields<'_>, trusted: &mut TrustedIssuer) {
    if let Some(list) = texts(yaml, fields, "algorithms") {
        let node = fields
            .get("algorithms")
            .map_or(fields.span(), |node| node.span);
        let known: Vec<_> = Algorithm::ALL
            .iter()
            .map(|algorithm| algorithm.name())
            .collect();
        let found: Option<Vec<_>> = list.iter().map(|name| Algorithm::from_name(name)).collect();
        match found {
            Some(found) => trusted.algorithms = found,
            None => yaml.error_help(
                "algorithm",
                node,
                "`algorithms` names one that is not supported",
                Some(format!("the algorithms are {}", listed(&known))),
            ),
        }
    }
    if let Some(list) = texts(yaml, fields, "audiences") {
        trusted.tolerated_audiences = list;
    }
    if let Some(list) = texts(yaml, fields, "token_types") {
        trusted.token_types = list;
    }
    if let Some(list) = texts(yaml, fields, "blocked_kids") {
        trusted.blocked_kids = list;
    }
    if let Some(node) = fields.get("key_use") {
        trusted.key_use = yaml.ascii(node, "`key_use`", MAX_TEXT).map(str::to_owned);
    }
    let times = [
        ("max_age", &mut trusted.max_age, MAX_AGE),
        ("max_lifetime", &mut trusted.max_lifetime, LONGEST_LIFE),
        ("leeway", &mut trusted.leeway, MAX_LEEWAY),
    ];
    for (key, place, ceiling) in times {
        seconds(yaml, fields, key, place, ceiling);
    }
    let switches = [
        ("kid_required", &mut trusted.kid_required),
        ("iat_required", &mut trusted.iat_required),
        ("strip_leading_zero", &mut trusted.strip_leading_zero),
    ];
    for (key, place) in switches {
        if let Some(node) = fields.get(key)
            && let Some(value) = yaml.boolean(node, format!("`{key}`"))
        {
            *place = value;
        }
    }
}

fn seconds(yaml: &NodeReader<'_>, fields: &Fields<'_>, key: &str, place: &mut i64, ceiling: i64) {
    let Some(node) = fields.get(key) else {
        return;
    };
    let Some(duration) = yaml.duration(node, format!("`{key}`")) else {
        return;
    };
    match i64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds <= ceiling => *place = seconds,
        Ok(_) | Err(_) => {
            yaml.error(
                "duration",
                node.span,
                format!(
                    "`{key}` is at most {ceiling} seconds ({} hours)",
                    ceiling / 3_600
                ),
            );
        }
    }
}

fn network(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    trusted: &mut TrustedIssuer,
    folder: &mut Folder,
) {
    if let Some(list) = texts(yaml, fields, "key_hosts") {
        trusted.key_hosts = list;
    }
    if let Some(list) = texts(yaml, fields, "networks") {
        let span = fields
            .get("networks")
            .map_or(fields.span(), |node| node.span);
        let read = list.iter().map(String::as_str);
        let read = read.map(|text| crate::network::parse(text).ok_or(text));
        let found: Result<Vec<IpNet>, &str> = read.collect();
        match found {
            Ok(networks) => trusted.networks = networks,
            Err(text) => yaml.error_help(
                "network",
                span,
                format!("`networks` has `{text}`, which is not a network"),
                Some("write e.g. 10.0.0.0/8 or fd00::/8, without leading zeros"),
            ),
        }
    }
    if let Some(node) = fields.get("ca")
        && let Some(name) = yaml.ascii(node, "`ca`", MAX_TEXT)
    {
        match folder.other(name) {
            Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => trusted.ca = Some(pem),
            Ok(_) => yaml.error(
                "ca",
                node.span,
                format!("`{name}` holds no PEM certificate"),
            ),
            Err(problem) => yaml.error("ca", node.span, format!("`{name}` {problem}")),
        }
    }
}

fn texts(yaml: &NodeReader<'_>, fields: &Fields<'_>, key: &str) -> Option<Vec<String>> {
    yaml.texts(fields.get(key)?, format!("`{key}`"))
}

/// What may stand in an issuer.
const KEYS: [&str; 26] = [
    "provider",
    "url",
    "tenants",
    "ca",
    "networks",
    "facts",
    "types",
    "properties",
    "algorithms",
    "audiences",
    "shared_audience",
    "token_types",
    "max_age",
    "max_lifetime",
    "leeway",
    "kid_required",
    "iat_required",
    "strip_leading_zero",
    "key_use",
    "key_hosts",
    "jwks",
    "blocked_kids",
    "client_id",
    "mfa",
    "reuse",
    "trust_domain",
];

/// The ceiling of `max_age`, in seconds: one day.
const MAX_AGE: i64 = 86_400;
/// The ceiling of `leeway`, in seconds (T-42).
const MAX_LEEWAY: i64 = 60;
