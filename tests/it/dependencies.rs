//! What hallpass is built of: one cryptographic backend, and nobody's features in our way.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use hallpass::token::json::{JsonProblem, Limits, parse_object};
use serde_json::Value;

use crate::support::sources::{root, sources};

/// T-99
#[test]
fn one_tls_and_one_cryptographic_backend_are_built_in() {
    let built = built_in();
    for one in ["rustls", "aws-lc-rs", "aws-lc-sys"] {
        let versions = built.keys().filter(|(name, _)| name == one).count();
        assert_eq!(versions, 1, "{one}");
    }
    let names: BTreeSet<&str> = built.keys().map(|(name, _)| name.as_str()).collect();
    for other in OTHER_BACKENDS {
        assert!(!names.contains(other), "{other} is built in");
    }
    for ((name, _), features) in &built {
        for feature in [
            "ring",
            "fips",
            "native-tls",
            "default-tls",
            "openssl",
            "__native-tls",
        ] {
            assert!(!features.contains(feature), "{name} has `{feature}` on");
        }
    }
    let rustls = built.iter().find(|((name, _), _)| name == "rustls");
    assert!(rustls.unwrap().1.contains("aws_lc_rs"));
}

/// T-17, T-18, T-99
#[test]
fn no_feature_changes_how_json_is_read_or_printed() {
    let built = built_in();
    let readers = built.iter().filter(|((name, _), _)| name == "serde_json");
    let features: BTreeSet<&str> = readers
        .flat_map(|(_, features)| features.iter().map(String::as_str))
        .collect();
    assert_eq!(features, BTreeSet::from(["default", "std"]));
}

/// `tests/opinion` shows the same where `preserve_order` is on.
///
/// T-18, T-99
#[test]
fn the_strict_reader_keeps_its_own_order_and_its_own_rule_for_duplicates() {
    let text = r#"{"b":1,"a":{"d":1,"c":2}}"#;
    let theirs: Value = serde_json::from_str(text).unwrap();
    assert_ne!(theirs.to_string(), text, "`preserve_order` is on");
    let object = parse_object(text.as_bytes(), &Limits::default()).unwrap();
    let names: Vec<&str> = object.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "a"]);
    let twice = parse_object(br#"{"a":1,"a":1}"#, &Limits::default()).unwrap_err();
    assert_eq!(twice.problem, JsonProblem::DuplicateName);
}

/// The graph is that of the default features: `sealed`, which adds josekit, is not among them.
///
/// T-15, T-99
#[test]
fn second_opinions_are_reachable_from_their_own_crate_only() {
    let graph = Graph::read();
    for opinion in ["josekit", "openidconnect", "json-syntax"] {
        assert_eq!(
            graph.needed_by(opinion),
            BTreeSet::from([OPINION]),
            "{opinion}"
        );
    }
    assert_eq!(graph.needed_by("openssl"), BTreeSet::from(["josekit"]));
    assert_eq!(graph.needed_by("openssl-sys"), BTreeSet::from(["openssl"]));
    assert_eq!(graph.needed_by(OPINION), BTreeSet::new());
    let reachable = graph.reachable_from("hallpass");
    for never in [
        "josekit",
        "openidconnect",
        "openssl",
        "openssl-sys",
        "rsa",
        OPINION,
    ] {
        assert!(!reachable.contains(never), "hallpass reaches {never}");
    }
}

/// Of josekit the broker names the encryption alone, and nothing that opens or verifies.
///
/// T-15, T-99
#[test]
fn a_second_opinion_is_named_by_one_module() {
    for (opinion, others) in [
        ("josekit", &["src/credential/sealed/encrypt.rs"][..]),
        ("openidconnect", &[]),
    ] {
        let path = format!("{opinion}::");
        let naming: Vec<String> = sources(&OURS)
            .into_iter()
            .filter(|(_, text)| text.contains(&path))
            .map(|(name, _)| name)
            .filter(|name| name != "tests/it/dependencies.rs")
            .filter(|name| name != "tests/opinion/src/case.rs")
            .collect();
        let own = format!("tests/opinion/src/{opinion}.rs");
        assert_eq!(naming, [others, &[own.as_str()]].concat());
    }
}

/// T-37, T-170: its place is what we sign, and not what callers send.
#[test]
fn jsonwebtoken_is_named_where_tokens_are_signed_only() {
    let naming: Vec<String> = sources(&["src"])
        .into_iter()
        .filter(|(_, text)| {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            code.contains("jsonwebtoken::")
        })
        .map(|(name, _)| name)
        .collect();
    let expected =
        ["keys", "rs256", "signing_key"].map(|name| format!("src/credential/jwt/{name}.rs"));
    assert_eq!(naming, expected);
}

/// T-99
#[test]
fn the_crypto_provider_is_installed_in_one_place_and_first_of_all() {
    let installing: Vec<String> = sources(&["src"])
        .into_iter()
        .flat_map(|(name, text)| vec![name; text.matches(".install_default()").count()])
        .collect();
    assert_eq!(installing, ["src/broker/mod.rs"]);
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.contains("{\n    hallpass::cli::run()\n}"));
    let cli = fs::read_to_string(root().join("src/cli/mod.rs")).unwrap();
    let (_, run) = cli.split_once("pub fn run() -> ExitCode {").unwrap();
    let first = run
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("//"));
    assert_eq!(first, Some("crate::broker::install_crypto_provider();"));
}

/// T-93, T-99
#[test]
fn advisories_are_looked_up_daily_and_what_is_ignored_is_the_same_everywhere() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let workflow = read(".github/workflows/advisories.yml");
    for part in [
        "\n  schedule:\n    - cron: \"17 5 * * *\"",
        "cargo-deny --locked --workspace check advisories",
        "osv-scanner\" scan source --config .osv-scanner.toml --lockfile Cargo.lock",
    ] {
        assert!(workflow.contains(part), "{part}");
    }
    // No action of somebody else's runs there.
    for workflow in ["advisories", "test"] {
        assert!(!read(&format!(".github/workflows/{workflow}.yml")).contains("uses:"));
    }
    assert!(
        read("Makefile")
            .contains("cargo-deny --locked --workspace check -D warnings bans licenses sources")
    );
    let ignored = |text: &str| -> BTreeSet<String> {
        text.split('"')
            .filter(|word| word.starts_with("RUSTSEC-"))
            .map(str::to_owned)
            .collect()
    };
    let (_, advisories) = read(".deny.toml")
        .split_once("\n[advisories]")
        .map(|(one, other)| (one.to_owned(), other.to_owned()))
        .unwrap();
    assert_eq!(ignored(&advisories), ignored(&read(".osv-scanner.toml")));
}

/// Every package of the workspace and what it needs, for tests too.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    fn read() -> Self {
        let text = cargo(&[
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            &platform(),
        ]);
        let graph: Value = serde_json::from_str(&text).unwrap();
        let packages = graph["packages"].as_array().unwrap();
        let names: BTreeMap<&str, &str> = packages
            .iter()
            .map(|package| {
                (
                    package["id"].as_str().unwrap(),
                    package["name"].as_str().unwrap(),
                )
            })
            .collect();
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in graph["resolve"]["nodes"].as_array().unwrap() {
            let name = names[node["id"].as_str().unwrap()];
            let dependencies = node["dependencies"].as_array().unwrap().iter();
            needs
                .entry(name.to_owned())
                .or_default()
                .extend(dependencies.map(|id| names[id.as_str().unwrap()].to_owned()));
        }
        Self(needs)
    }

    fn needed_by(&self, package: &str) -> BTreeSet<&str> {
        assert!(self.0.contains_key(package), "there is no {package}");
        self.0
            .iter()
            .filter(|(_, needs)| needs.contains(package))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    fn reachable_from(&self, package: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut next = vec![package];
        while let Some(package) = next.pop() {
            for need in &self.0[package] {
                if reached.insert(need.as_str()) {
                    next.push(need);
                }
            }
        }
        reached
    }
}

/// Name and version of what is in the binary or builds it, with the features that are on.
fn built_in() -> BTreeMap<(String, String), BTreeSet<String>> {
    let tree = cargo(&[
        "tree",
        "--package",
        "hallpass",
        "--edges",
        "normal,build",
        "--target",
        &platform(),
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ]);
    let mut built: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for line in tree.lines() {
        let (package, features) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        let mut words = package.split(' ');
        let package = (
            words.next().unwrap().to_owned(),
            words.next().unwrap().to_owned(),
        );
        let features = features.split(',').filter(|feature| !feature.is_empty());
        built
            .entry(package)
            .or_default()
            .extend(features.map(str::to_owned));
    }
    assert!(built.len() > 100, "the tree was not read");
    built
}

/// The lock file is complete, so nothing is fetched unless a package is not on this machine yet.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(root())
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    String::from_utf8(output.stdout).unwrap()
}

fn platform() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

const OURS: [&str; 3] = ["src", "tests/it", "tests/opinion"];

const OPINION: &str = "hallpass-opinion";

const OTHER_BACKENDS: [&str; 14] = [
    "aws-lc-fips-sys",
    "boring",
    "curve25519-dalek",
    "ed25519-dalek",
    "k256",
    "mbedtls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "p256",
    "p384",
    "ring",
    "rsa",
    "s2n-tls",
];
