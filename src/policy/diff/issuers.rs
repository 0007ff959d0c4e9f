//! The issuers of both sets, paired by `url`: how their tokens are checked and read, and which jobs are
//! served.

use super::definition::changed;
use super::{Change, IssuerChange};

use crate::policy::compile::PolicyIssuer;
use crate::policy::{Block, PolicySet};
use crate::provider::{ClaimType, Reader};
use crate::text::sha256;
use crate::token::{Reuse, TrustedIssuer};
use crate::yaml::duration;
use crate::yaml::scalar::{list, quoted, scalar};

pub(super) fn changes(old: &PolicySet, new: &PolicySet) -> Vec<IssuerChange> {
    let mut changes = Vec::new();
    for issuer in &new.issuers {
        let was = by_url(old, &issuer.reader.issuer.url);
        changes.extend(change(was, issuer));
    }
    let gone = |one: &&PolicyIssuer| by_url(new, &one.reader.issuer.url).is_none();
    let gone = old.issuers.iter().filter(gone);
    changes.extend(gone.map(|one| IssuerChange {
        change: Change::Removed,
        ..IssuerChange::of(&one.reader)
    }));
    changes
}

fn by_url<'a>(set: &'a PolicySet, url: &str) -> Option<&'a PolicyIssuer> {
    let mut issuers = set.issuers.iter();
    issuers.find(|one| one.reader.issuer.url == url)
}

/// `None`: it is the same in both.
fn change(was: Option<&PolicyIssuer>, now: &PolicyIssuer) -> Option<IssuerChange> {
    let mut change = IssuerChange::of(&now.reader);
    let Some(was) = was else {
        change.change = Change::Added;
        return Some(change);
    };
    let (wider, narrower) = tenants(was, now);
    change.change = match (trust(&was.reader, &now.reader), wider, narrower) {
        (Change::Redefined, _, _) => Change::Redefined,
        (_, true, true) | (Change::Narrower, true, false) => Change::WiderAndNarrower,
        (_, true, false) => Change::Wider,
        (_, false, true) => Change::Narrower,
        (trust, false, false) => trust,
    };
    let name = was.reader.issuer.name.clone();
    change.was = Some(name).filter(|name| *name != change.name);
    change.keys = changed(&entry(was), &entry(now));
    let is_silent = change.change == Change::Same && change.was.is_none() && change.keys.is_empty();
    (!is_silent).then_some(change)
}

impl IssuerChange {
    fn of(reader: &Reader) -> Self {
        Self {
            name: reader.issuer.name.clone(),
            was: None,
            url: reader.issuer.url.clone(),
            change: Change::Same,
            keys: Vec::new(),
            widened: 0,
        }
    }
}

/// Whether the new tenants may let in jobs that the old ones do not, and the other way round.
fn tenants(was: &PolicyIssuer, now: &PolicyIssuer) -> (bool, bool) {
    let more = |from: &Option<Vec<Block>>, to: &Option<Vec<Block>>| match (from, to) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(from), Some(to)) => !to
            .iter()
            .all(|one| from.iter().any(|other| one.implies(other))),
    };
    (
        more(&was.tenants, &now.tenants),
        more(&now.tenants, &was.tenants),
    )
}

/// Each key that is given or has a default, with its value as in the file. Files are named by their
/// hash.
fn entry(issuer: &PolicyIssuer) -> Vec<(String, String)> {
    let reader = &issuer.reader;
    let TrustedIssuer {
        name: _,
        url: _,
        algorithms,
        tolerated_audiences,
        client_id,
        shared_audience,
        token_types,
        leeway,
        max_lifetime,
        max_age,
        kid_required,
        iat_required,
        strip_leading_zero,
        key_use,
        ca,
        networks,
        key_hosts,
        blocked_kids,
        pinned_keys,
        trust_domain,
        reuse,
    } = &*reader.issuer;
    let texts = |all: &[String]| list(all.iter().map(String::as_str));
    let seconds = |number: &i64| {
        let seconds = u64::try_from(*number).unwrap_or_default();
        duration::print(std::time::Duration::from_secs(seconds))
    };
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    let mut keys = vec![
        ("provider", reader.provider.name.to_owned()),
        ("algorithms", list(algorithms.iter().map(|one| one.name()))),
        ("audiences", texts(tolerated_audiences)),
        ("token_types", texts(token_types)),
        ("leeway", seconds(leeway)),
        ("max_lifetime", seconds(max_lifetime)),
        ("max_age", seconds(max_age)),
        ("kid_required", kid_required.to_string()),
        ("iat_required", iat_required.to_string()),
        ("strip_leading_zero", strip_leading_zero.to_string()),
        ("networks", texts(&networks)),
        ("key_hosts", texts(key_hosts)),
        ("blocked_kids", texts(blocked_kids)),
    ];
    let optional = [
        ("trust_domain", trust_domain.as_deref().map(scalar)),
        (
            "reuse",
            (*reuse == Reuse::Subject).then(|| "subject".to_owned()),
        ),
        ("client_id", client_id.as_deref().map(scalar)),
        ("shared_audience", shared_audience.as_deref().map(scalar)),
        ("key_use", key_use.as_deref().map(scalar)),
        ("ca", ca.as_deref().map(sha256)),
        ("jwks", pinned_keys.as_deref().map(sha256)),
        ("tenants", issuer.tenants.as_deref().map(blocks)),
    ];
    keys.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let factor = &reader.second_factor;
    keys.push((
        "mfa",
        format!(
            "{{ amr: {}, acr: {} }}",
            texts(&factor.amr),
            texts(&factor.acr)
        ),
    ));
    let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value));
    let facts = reader.claim_map.iter().flat_map(|(fact, claim)| {
        let pointer = scalar(&claim.pointer);
        let claim_type = type_word(claim.claim_type).to_owned();
        [
            (format!("facts.{fact}"), pointer),
            (format!("types.{fact}"), claim_type),
        ]
    });
    let properties = reader.properties.iter();
    let properties = properties.map(|(name, property)| {
        let key = format!("properties.{}", quoted(name));
        (key, property.name().to_owned())
    });
    keys.chain(facts).chain(properties).collect()
}

/// As in `types`.
const fn type_word(claim_type: ClaimType) -> &'static str {
    match claim_type {
        ClaimType::Text | ClaimType::FreeText | ClaimType::FlagText => "text",
        ClaimType::Boolean => "boolean",
        ClaimType::Number => "number",
        ClaimType::List => "list",
        ClaimType::Object => "object",
    }
}

fn blocks(blocks: &[Block]) -> String {
    let blocks: Vec<_> = blocks.iter().map(Block::to_yaml).collect();
    format!("[{}]", blocks.join(", "))
}

/// How the tokens of the issuer are checked and read. Fewer keys, algorithms, audiences, networks and
/// hosts, and shorter times, are narrower; every other difference is a redefinition.
fn trust(was: &Reader, now: &Reader) -> Change {
    let (old, new) = (&was.issuer, &now.issuer);
    let mut narrowed = (**old).clone();
    narrowed.name.clone_from(&new.name);
    if new
        .algorithms
        .iter()
        .all(|one| old.algorithms.contains(one))
    {
        narrowed.algorithms.clone_from(&new.algorithms);
    }
    let audiences = &mut new.tolerated_audiences.iter();
    if audiences.all(|one| old.tolerated_audiences.contains(one)) {
        narrowed
            .tolerated_audiences
            .clone_from(&new.tolerated_audiences);
    }
    if new.networks.iter().all(|one| old.networks.contains(one)) {
        narrowed.networks.clone_from(&new.networks);
    }
    if new.key_hosts.iter().all(|one| old.key_hosts.contains(one)) {
        narrowed.key_hosts.clone_from(&new.key_hosts);
    }
    if old
        .blocked_kids
        .iter()
        .all(|one| new.blocked_kids.contains(one))
    {
        narrowed.blocked_kids.clone_from(&new.blocked_kids);
    }
    for (narrowed, new) in [
        (&mut narrowed.leeway, new.leeway),
        (&mut narrowed.max_lifetime, new.max_lifetime),
        (&mut narrowed.max_age, new.max_age),
    ] {
        *narrowed = new.min(*narrowed);
    }
    if narrowed != **new || !was.reads_like(now) {
        return Change::Redefined;
    }
    narrowed.name.clone_from(&old.name);
    if narrowed == **old {
        Change::Same
    } else {
        Change::Narrower
    }
}
