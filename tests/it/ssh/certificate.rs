//! What is in a certificate, as `ssh-keygen -L` reads it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use hallpass::clock::{FixedClock, Timestamp};
use hallpass::credential::ssh::{CertificateRequest, Extension, SourceAddress};

use super::host::run;
use super::stage::{Job, Stage, definition, request};

const NOW: i64 = 1_790_000_000;

fn now() -> Timestamp {
    Timestamp::from_unix(NOW)
}

/// What ssh-keygen prints of a certificate, each line without its indent.
fn read(job: &Job, line: &str) -> Vec<String> {
    fs::write(job.certificate(), line).unwrap();
    let mut command = Command::new("ssh-keygen");
    let text = run(command.env("TZ", "UTC").arg("-Lf").arg(job.certificate()));
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// T-145
#[test]
fn a_certificate_says_what_its_definition_says_and_nothing_more() {
    let stage = Stage::at(NOW);
    let job = stage.job(&["-t", "ed25519"]);
    let key = job.key();
    let mut definition = definition();
    let plain = stage.ca.sign(&request(&definition, &key, now())).unwrap();
    let lines = read(&job, &plain.line);
    assert_eq!(
        lines[1],
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate"
    );
    assert_eq!(
        lines[4..],
        [
            "Key ID: \"hallpass credential=deploy-host policy=shop-deploy repository=acme/shop run=123456\"",
            &format!("Serial: {}", plain.serial),
            "Valid: from 2026-09-21T14:12:20 to 2026-09-21T14:23:20",
            "Principals:",
            "deploy",
            "Critical Options: (none)",
            "Extensions: (none)",
        ]
    );
    definition.extensions = BTreeSet::from(Extension::ALL);
    definition.force_command = Some("/usr/bin/deploy 'a b'".parse().unwrap());
    definition.source_address = Some(SourceAddress::new(["192.0.2.7", "2001:db8::/32"]).unwrap());
    let full = stage.ca.sign(&request(&definition, &key, now())).unwrap();
    assert_eq!(
        read(&job, &full.line)[9..],
        [
            "Critical Options:",
            "force-command /usr/bin/deploy 'a b'",
            "source-address 192.0.2.7/32,2001:db8::/32",
            "Extensions:",
            "permit-X11-forwarding",
            "permit-agent-forwarding",
            "permit-port-forwarding",
            "permit-pty",
            "permit-user-rc",
        ]
    );
}

/// T-146
#[test]
fn a_certificate_ends_with_its_permit_and_begins_a_minute_before_it() {
    let stage = Stage::at(NOW);
    let (job, definition) = (stage.job(&["-t", "ed25519"]), definition());
    let key = job.key();
    for life in [1, 60, 3_600] {
        let certificate = stage
            .ca
            .sign(&CertificateRequest {
                expires_at: now().plus(life),
                ..request(&definition, &key, now())
            })
            .unwrap();
        assert_eq!(certificate.expires_at, now().plus(life));
        let time = |time: Timestamp| time.to_string().trim_end_matches('Z').to_owned();
        let valid = format!(
            "Valid: from {} to {}",
            time(now().plus(-60)),
            time(now().plus(life))
        );
        assert!(read(&job, &certificate.line).contains(&valid));
    }
}

/// T-146
#[test]
fn a_certificate_that_would_have_no_life_or_no_end_is_refused() {
    let stage = Stage::at(NOW);
    let (job, definition) = (stage.job(&["-t", "ed25519"]), definition());
    let key = job.key();
    for (minted_at, expires_at) in [
        (NOW, NOW),
        (NOW, NOW - 1),
        (NOW, i64::MIN),
        // A repeat after the end.
        (NOW - 600, NOW - 1),
        (NOW + 60, NOW + 30),
        // Times of which one would wrap around to far ahead.
        (i64::MIN, i64::MIN + 600),
        (-120, NOW + 60),
    ] {
        let refused = stage.ca.sign(&CertificateRequest {
            expires_at: Timestamp::from_unix(expires_at),
            ..request(&definition, &key, Timestamp::from_unix(minted_at))
        });
        assert!(
            refused.unwrap_err().nothing_made,
            "{minted_at} {expires_at}"
        );
    }
}

/// T-146
#[test]
fn a_repeat_gives_the_same_certificate_on_every_replica_and_never_a_longer_life() {
    let stage = Stage::at(NOW);
    let (job, definition) = (stage.job(&["-t", "ed25519"]), definition());
    let key = job.key();
    let first = stage.ca.sign(&request(&definition, &key, now())).unwrap();
    let later = Arc::new(FixedClock::at(now().plus(300)));
    let again = stage
        .replica(later)
        .sign(&request(&definition, &key, now()));
    assert_eq!(again.unwrap().line, first.line);
}

/// T-144
#[test]
fn every_token_credential_and_key_has_its_own_serial_number() {
    let stage = Stage::at(NOW);
    let definition = definition();
    let (key, other) = (
        stage.job(&["-t", "ed25519"]).key(),
        stage.job(&["-t", "ed25519"]).key(),
    );
    let request = request(&definition, &key, now());
    let requests = [
        CertificateRequest { ..request },
        CertificateRequest {
            token: "jti-2",
            ..request
        },
        CertificateRequest {
            issuer: "https://gitlab.com",
            ..request
        },
        CertificateRequest {
            credential: "deploy-web",
            ..request
        },
        CertificateRequest {
            key: &other,
            ..request
        },
    ];
    let serials: BTreeSet<u64> = requests
        .iter()
        .map(|request| stage.ca.sign(request).unwrap().serial)
        .collect();
    assert_eq!(serials.len(), requests.len());
    assert!(!serials.contains(&0));
}

/// T-150
#[test]
fn job_text_in_a_key_id_stays_one_value() {
    let stage = Stage::at(NOW);
    let (job, definition) = (stage.job(&["-t", "ed25519"]), definition());
    let key = job.key();
    let hostile = "x policy=root\" \n\u{1b}[2J\u{e9}%41,;=";
    let certificate = stage
        .ca
        .sign(&CertificateRequest {
            repository: Some(hostile),
            run: None,
            ..request(&definition, &key, now())
        })
        .unwrap();
    let lines = read(&job, &certificate.line);
    assert_eq!(
        lines[4],
        "Key ID: \"hallpass credential=deploy-host policy=shop-deploy repository=x%20policy%3Droot%22%20%0A%1B%5B2J%C3%A9%2541%2C%3B%3D\""
    );
    let long = "x".repeat(641);
    let refused = stage.ca.sign(&CertificateRequest {
        repository: Some(&long),
        ..request(&definition, &key, now())
    });
    let error = refused.unwrap_err();
    assert_eq!(
        (error.reason.code(), error.reason.is_ours()),
        ("claims.too_long", false)
    );
    insta::assert_snapshot!(error, @"the names of credential, policy, repository and run have 714 bytes, a key id holds at most 640");
}
