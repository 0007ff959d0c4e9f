//! Random numbers and policies.

use std::fmt::Write as _;

use super::worlds::{Topic, World};

/// Numbers that follow from a seed (`SplitMix64`).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn number(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(below).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.number(of) == 0
    }

    pub(super) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.number(from.len())]
    }
}

/// A block of some lines of the topics, none twice.
pub(super) fn block(random: &mut Random, topics: &[&Topic]) -> String {
    let count = random.number(3) + 1;
    let mut lines: Vec<&str> = Vec::new();
    for _ in 0..count {
        let lines_of = random.pick(topics).lines;
        let line = random.pick(lines_of);
        let key = |line: &str| line.split(':').next().unwrap().to_owned();
        if lines.iter().all(|other| key(other) != key(line)) {
            lines.push(line);
        }
    }
    format!("{{ {} }}", lines.join(", "))
}

/// Policies for jobs of the world that differ in these topics. The name of its issuer is not always the
/// same, and there is another one.
pub(super) fn policies(random: &mut Random, world: &World, topics: &[&Topic]) -> String {
    let tenants = random.pick(world.tenants);
    let (name, other) = *random.pick(&[("ci", "b"), ("ci", "b"), ("ci", "b"), ("b", "ci")]);
    let mut text = format!(
        "zone: Europe/Berlin\nissuers:\n  {name}: {{ {}{tenants} }}\n  {other}: {{ provider: generic, url: https://other.acme.dev, facts: {{ repository: /r }} }}\n",
        world.issuer
    );
    let most = random.pick(&["5m", "10m"]);
    let _ = write!(
        text,
        "credentials:\n  api: {{ kind: jwt, audience: https://api.acme.dev, scopes: [a, b], max_ttl: {most}, owner: o, purpose: p, class: low }}\n"
    );
    let requirements = random.number(3).saturating_sub(1);
    if requirements > 0 {
        text.push_str("require:\n");
    }
    for number in 0..requirements {
        let mut of_issuer = || {
            let issuer = *random.pick(&["NAME", "NAME", "NAME", "[NAME, OTHER]", "OTHER"]);
            let issuer = issuer.replace("NAME", name).replace("OTHER", other);
            block(random, topics).replacen('{', &format!("{{ issuer: {issuer},"), 1)
        };
        let (jobs, unless) = (of_issuer(), of_issuer());
        let unless = if random.one_in(2) {
            format!("unless: {unless}, ")
        } else {
            String::new()
        };
        let shadow = shadow(random);
        let _ = writeln!(
            text,
            "  - {{ name: r{number}, of: all, jobs: {jobs}, {unless}{shadow}because: b }}"
        );
    }
    text.push_str("policies:\n");
    for number in 0..=random.number(4) {
        let blocks: Vec<String> = (0..=random.number(2))
            .map(|_| block(random, topics))
            .collect();
        let until = random.pick(&[
            "",
            "",
            "",
            "until: 2026-01-01T00:00:00Z, ",
            "until: 2026-11-20T00:00:00Z, ",
            "until: 2026-11-24T12:00:00Z, ",
            "until: 2028-01-01T00:00:00Z, ",
        ]);
        let ttl = random.pick(&["2m", "5m", "10m"]);
        let scopes = random.pick(&["[a]", "[b]", "[a, b]"]);
        let shadow = shadow(random);
        let _ = writeln!(
            text,
            "  - {{ name: p{number}, issuer: {name}, when: [{}], {until}{shadow}grant: [ {{ credential: api, ttl: {ttl}, scopes: {scopes} }} ] }}",
            blocks.join(", ")
        );
    }
    text
}

fn shadow(random: &mut Random) -> &'static str {
    if random.one_in(8) {
        "shadow_until: 2029-01-01T00:00:00Z, "
    } else {
        ""
    }
}
