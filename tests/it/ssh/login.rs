//! Real hosts that trust the CA: who gets in, as whom, from where, for how long, and to do what.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hallpass::clock::SystemClock;
use hallpass::credential::ssh::{Extension, Principals, SourceAddress, SshDefinition};

use super::host::{Host, run, user};
use super::stage::{Job, Stage, definition};
use crate::support::leaks::Observed as _;

const LIFE: i64 = 300;

fn is_in(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stdout).contains("hallpass-was-here")
}

fn gets_in(host: &Host, job: &Job) -> bool {
    let output = host.login(job.path(), &["echo", "hallpass-was-here"]);
    is_in(&output)
}

fn with(change: impl FnOnce(&mut SshDefinition)) -> SshDefinition {
    let mut definition = definition();
    change(&mut definition);
    definition
}

/// T-144
#[test]
fn every_accepted_type_of_key_logs_in_whichever_key_the_ca_has() {
    let types: [&[&str]; 4] = [
        &["-t", "ed25519"],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "rsa", "-b", "3072"],
    ];
    for ca in [["-t", "ed25519"].as_slice(), &["-t", "ecdsa", "-b", "256"]] {
        let stage = Stage::with(ca, Arc::new(SystemClock::new()));
        let host = Host::start(&stage.install(), &["deploy"]);
        for kind in types {
            let job = stage.job(kind);
            stage.sign(&job, &definition(), LIFE);
            assert!(gets_in(&host, &job), "{kind:?}: {}", host.log());
        }
    }
}

/// T-144
#[test]
fn a_certificate_without_its_private_key_is_of_no_use() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let (owner, thief) = (
        stage.signed_job(&definition(), LIFE),
        stage.job(&["-t", "ed25519"]),
    );
    std::fs::copy(owner.certificate(), thief.certificate()).unwrap();
    assert!(!gets_in(&host, &thief), "{}", host.log());
    assert!(gets_in(&host, &owner), "{}", host.log());
}

/// T-146
#[test]
fn a_certificate_lets_in_until_it_expires_and_not_after() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let job = stage.signed_job(&definition(), 10);
    assert!(gets_in(&host, &job), "{}", host.log());
    let is_out = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        !gets_in(&host, &job)
    });
    assert!(is_out, "{}", host.log());
    assert!(
        host.log().contains("Certificate invalid: expired"),
        "{}",
        host.log()
    );
    stage.sign(&job, &definition(), LIFE);
    assert!(gets_in(&host, &job), "{}", host.log());
}

/// T-145
#[test]
fn a_principal_that_the_host_does_not_list_is_refused() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let other = with(|definition| definition.principals = Principals::new(["backup"]).unwrap());
    // The name of the user itself is no principal where the host lists principals.
    let named = user();
    let named = with(|definition| definition.principals = Principals::new([&*named]).unwrap());
    for definition in [other, named] {
        let job = stage.signed_job(&definition, LIFE);
        assert!(!gets_in(&host, &job), "{definition:?}");
    }
    let refused = "Certificate does not contain an authorized principal";
    assert!(host.log().contains(refused), "{}", host.log());
    let both = Principals::new(["backup", "deploy"]).unwrap();
    let job = stage.signed_job(&with(|definition| definition.principals = both), LIFE);
    assert!(gets_in(&host, &job), "{}", host.log());
}

/// T-145
#[test]
fn another_host_is_closed_by_its_principals_or_its_ca() {
    let stage = Stage::new();
    let job = stage.signed_job(&definition(), LIFE);
    let same = Host::start(&stage.install(), &["deploy"]);
    let of_another_team = Host::start(&stage.install(), &["backup"]);
    let of_another_ca = Host::start(&Stage::new().install(), &["deploy"]);
    assert!(gets_in(&same, &job), "{}", same.log());
    assert!(!gets_in(&of_another_team, &job));
    assert!(!gets_in(&of_another_ca, &job));
}

/// T-146
#[test]
fn a_certificate_is_revoked_by_its_serial_number_as_the_installation_says() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let (job, other) = (
        stage.job(&["-t", "ed25519"]),
        stage.signed_job(&definition(), LIFE),
    );
    let certificate = stage.sign(&job, &definition(), LIFE);
    assert!(gets_in(&host, &job), "{}", host.log());
    let said = format!("(serial {})", certificate.serial);
    assert!(host.log().contains(&said), "{}", host.log());
    host.revoke(&stage.install(), &certificate.serial.to_string());
    assert!(!gets_in(&host, &job), "{}", host.log());
    assert!(gets_in(&host, &other), "{}", host.log());
}

/// T-146
#[test]
fn a_certificate_of_any_ca_that_a_host_trusts_is_revoked() {
    let (first, second, third) = (Stage::new(), Stage::new(), Stage::new());
    let host = Host::start(&first.install(), &["deploy"]);
    host.trust(&second.install());
    host.trust(&third.install());
    let stages = [&first, &second, &third];
    let jobs = stages.map(|stage| {
        let (gone, kept) = (stage.job(&["-t", "ed25519"]), stage.job(&["-t", "ed25519"]));
        let serial = stage.sign(&gone, &definition(), LIFE).serial;
        stage.sign(&kept, &definition(), LIFE);
        (gone, kept, serial)
    });
    for (gone, kept, _) in &jobs {
        assert!(
            gets_in(&host, gone) && gets_in(&host, kept),
            "{}",
            host.log()
        );
    }
    // The last first: each list keeps what was revoked before.
    for (gone, _, serial) in jobs.iter().rev() {
        host.revoke(&first.install(), &serial.to_string());
        assert!(!gets_in(&host, gone), "{}", host.log());
    }
    for (gone, kept, _) in &jobs {
        assert!(
            !gets_in(&host, gone) && gets_in(&host, kept),
            "{}",
            host.log()
        );
    }
}

/// T-151
#[test]
fn the_installation_shows_which_settings_are_in_force() {
    let stage = Stage::new();
    let install = stage.install();
    let ours = |host: &Host| {
        let file = |name: &str| host.file(name).display().to_string();
        [
            "authorizedprincipalscommand none".to_owned(),
            format!(
                "authorizedprincipalsfile {}/%u",
                file("hallpass_principals")
            ),
            format!("revokedkeys {}", file("hallpass_revoked")),
            format!("trustedusercakeys {}", file("hallpass_ca.pub")),
        ]
    };
    let host = Host::start(&install, &["deploy"]);
    assert_eq!(host.in_force(&install), ours(&host));
    // A host with a list of its own: what was revoked there before must stay revoked, and sshd takes the
    // first value without a word.
    let host = Host::with_own("RevokedKeys /etc/ssh/own_revoked", &install, &["deploy"]);
    run(Command::new("/usr/sbin/sshd")
        .arg("-tf")
        .arg(host.file("config")));
    let own = format!("revokedkeys {}", host.file("own_revoked").display());
    let found = host.in_force(&install);
    assert_ne!(found, ours(&host));
    assert!(found.contains(&own), "{found:?}");
    // `Match` blocks count.
    let block = format!(
        "Match User {}\nAuthorizedPrincipalsFile none\nMatch all",
        user()
    );
    let host = Host::with_own(&block, &install, &["deploy"]);
    assert_eq!(host.in_force(&install)[1], "authorizedprincipalsfile none");
}

/// T-145
#[test]
fn a_host_behind_another_is_reached_where_the_first_permits_port_forwarding() {
    let stage = Stage::new();
    let (hop, target) = (
        Host::start(&stage.install(), &["deploy"]),
        Host::start(&stage.install(), &["deploy"]),
    );
    let known = hop.known_line() + &target.known_line();
    std::fs::write(hop.file("known_hosts"), known).unwrap();
    let config = format!(
        "Host *\nHostName 127.0.0.1\nUser {}\nBatchMode yes\nStrictHostKeyChecking yes\nUserKnownHostsFile {}\nGlobalKnownHostsFile none\nIdentitiesOnly yes\nIdentityAgent none\nHost hop\nPort {}\nHost target\nPort {}\n",
        user(),
        hop.file("known_hosts").display(),
        hop.port(),
        target.port(),
    );
    std::fs::write(hop.file("ssh_config"), config).unwrap();
    let jumps = |job: &Job| {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(hop.file("ssh_config"));
        ssh.args(["-o", &format!("IdentityFile={}", job.path().display())]);
        let jump = format!(
            "ssh -F {} -o IdentityFile={} -W [%h]:%p hop",
            hop.file("ssh_config").display(),
            job.path().display()
        );
        // What `-J hop` runs, with the key named on the command line.
        ssh.args(["-o", &format!("ProxyCommand={jump}")]);
        is_in(&ssh.args(["target", "echo", "hallpass-was-here"]).observed())
    };
    let plain = stage.signed_job(&definition(), LIFE);
    assert!(!jumps(&plain), "{}", hop.log());
    let forwarding = BTreeSet::from([Extension::PortForwarding]);
    let forwarding = with(|definition| definition.extensions = forwarding);
    let forwarding = stage.signed_job(&forwarding, LIFE);
    assert!(jumps(&forwarding), "{} {}", hop.log(), target.log());
    // A forced command takes the place of a session, not of a connection through the host.
    let forced = with(|definition| {
        definition.extensions = BTreeSet::from([Extension::PortForwarding]);
        definition.force_command = Some("echo hallpass-was-here".parse().unwrap());
    });
    let forced = stage.signed_job(&forced, LIFE);
    assert!(jumps(&forced), "{} {}", hop.log(), target.log());
}

/// T-148
#[test]
fn a_forced_command_runs_instead_of_what_was_asked_for() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let command = "printf '<%s>' \"a 'quoted' word\" '$HOME' \"$SSH_ORIGINAL_COMMAND\"";
    let forced = with(|definition| definition.force_command = Some(command.parse().unwrap()));
    let job = stage.signed_job(&forced, LIFE);
    for asked in [vec!["echo", "hallpass-was-here; id"], vec![]] {
        let output = host.login(job.path(), &asked);
        let said = String::from_utf8(output.stdout).unwrap();
        let original = asked.join(" ");
        assert_eq!(
            said,
            format!("<a 'quoted' word><$HOME><{original}>"),
            "{}",
            host.log()
        );
    }
}

/// T-148
#[test]
fn a_certificate_counts_from_its_networks_only() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    for (networks, expected) in [
        (vec!["192.0.2.0/24", "2001:db8::/32"], false),
        (vec!["192.0.2.0/24", "127.0.0.0/8"], true),
        (vec!["127.0.0.1"], true),
        (vec!["127.0.0.2"], false),
    ] {
        let source = SourceAddress::new(networks.iter().copied()).unwrap();
        let job = stage.signed_job(
            &with(|definition| definition.source_address = Some(source)),
            LIFE,
        );
        assert_eq!(
            gets_in(&host, &job),
            expected,
            "{networks:?}: {}",
            host.log()
        );
    }
}

/// T-145
#[test]
fn a_session_has_no_terminal_and_forwards_nothing_unless_the_definition_says_so() {
    let stage = Stage::new();
    let host = Host::start(&stage.install(), &["deploy"]);
    let plain = stage.signed_job(&definition(), LIFE);
    let pty = BTreeSet::from([Extension::Pty]);
    let pty = stage.signed_job(&with(|definition| definition.extensions = pty), LIFE);
    let terminal = |job: &Job| {
        let mut ssh = host.ssh();
        ssh.args(["-tt", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(job.path());
        let output = ssh.args(["127.0.0.1", "tty"]).observed();
        String::from_utf8_lossy(&output.stdout).contains("/dev/")
    };
    assert!(!terminal(&plain), "{}", host.log());
    assert!(terminal(&pty), "{}", host.log());
    let output = {
        let mut ssh = host.ssh();
        ssh.args(["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"]);
        ssh.args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(plain.path());
        ssh.args(["127.0.0.1", "echo", "hallpass-was-here"])
            .observed()
    };
    assert!(!is_in(&output), "{}", host.log());
}
