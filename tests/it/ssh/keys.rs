//! Which keys are signed, and which sign.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use data_encoding::BASE64;
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::credential::ssh::{CaKey, JobKey, JobKeyError};

use super::host::run;
use super::stage::{Stage, definition, keygen, request};

fn refusal(text: &str) -> JobKeyError {
    JobKey::parse(text).unwrap_err()
}

/// A public key in the format of RFC 4253: its type, then these fields.
fn line(kind: &str, fields: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for field in std::iter::once(kind.as_bytes()).chain(fields.iter().copied()) {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    format!("{kind} {}", BASE64.encode(&blob))
}

/// T-144
#[test]
fn keys_of_another_type_or_size_are_not_signed() {
    let stage = Stage::new();
    for (kind, expected) in [
        (["-t", "dsa", "-b", "1024"], JobKeyError::Type),
        (["-t", "ecdsa", "-b", "521"], JobKeyError::Type),
        (
            ["-t", "rsa", "-b", "2048"],
            JobKeyError::Weak("its modulus has 2048 bits, expected 3072 to 8192".to_owned()),
        ),
    ] {
        assert_eq!(
            refusal(&stage.job(&kind).public_line()),
            expected,
            "{kind:?}"
        );
    }
    insta::assert_snapshot!(refusal(&stage.job(&["-t", "rsa", "-b", "2048"]).public_line()), @"is too weak: its modulus has 2048 bits, expected 3072 to 8192; make one with `ssh-keygen -t ed25519`");
}

/// T-144
#[test]
fn a_certificate_a_private_key_or_options_are_no_public_key() {
    let stage = Stage::new();
    let job = stage.signed_job(&definition(), 60);
    let public = job.public_line();
    let certificate = fs::read_to_string(job.certificate()).unwrap();
    assert_eq!(refusal(&certificate), JobKeyError::Type);
    let encoded = certificate.split(' ').nth(1).unwrap();
    assert_eq!(
        refusal(&format!("ssh-ed25519 {encoded}")),
        JobKeyError::Type
    );
    let private = fs::read_to_string(job.path()).unwrap();
    assert_eq!(refusal(&private), JobKeyError::Private);
    for options in [
        "cert-authority,principals=\"root\" ",
        "command=\"id\" ",
        "restrict ",
        "@cert-authority * ",
        " ",
        "# ",
    ] {
        assert_eq!(
            refusal(&format!("{options}{public}")),
            JobKeyError::Type,
            "{options}"
        );
    }
    for text in [
        "",
        "\n",
        "ssh-ed25519",
        &format!("{public}{public}"),
        &public.replace(' ', "\t"),
    ] {
        assert_eq!(refusal(text), JobKeyError::Line, "{text:?}");
    }
    let long = format!("{} {}", public.trim(), "c".repeat(4_096));
    assert!(matches!(refusal(&long), JobKeyError::Length { .. }));
}

/// T-144
#[test]
fn a_comment_is_neither_kept_nor_signed() {
    let stage = Stage::new();
    let (job, definition) = (stage.job(&["-t", "ed25519"]), definition());
    let plain = job
        .public_line()
        .trim_end()
        .trim_end_matches(" job")
        .to_owned();
    for comment in [
        "",
        " job",
        " a b c",
        " cert-authority,principals=\"root\"",
        " \u{202e}x",
    ] {
        let key = JobKey::parse(&format!("{plain}{comment}")).unwrap();
        assert_eq!(key, job.key());
        let now = SystemClock::new().now();
        let certificate = stage.ca.sign(&request(&definition, &key, now)).unwrap();
        assert!(
            certificate.line.ends_with(" deploy-host"),
            "{}",
            certificate.line
        );
    }
}

/// T-144
#[test]
fn malformed_and_weak_numbers_are_not_signed() {
    let small_order = [0_u8; 32];
    let (prefix, curve) = ([4_u8].as_slice(), "nistp256");
    let off_curve = [prefix, &[1; 64]].concat();
    let compressed = [[2_u8].as_slice(), &[1; 32]].concat();
    let even = [[0_u8, 0x80].as_slice(), &[0; 383]].concat();
    let padded = [[0_u8, 0x80].as_slice(), &[0; 382], &[1]].concat();
    // Of all bits set, 3 is a factor.
    let small_factor = [[0_u8].as_slice(), &[0xff; 384]].concat();
    for text in [
        line("ssh-ed25519", &[&small_order]),
        line("ssh-ed25519", &[&[0xff; 32]]),
        line("ssh-ed25519", &[&[9; 31]]),
        line("ssh-ed25519", &[&[9; 32], b"more"]),
        line("ecdsa-sha2-nistp256", &[curve.as_bytes(), &off_curve]),
        line("ecdsa-sha2-nistp256", &[curve.as_bytes(), &compressed]),
        line("ecdsa-sha2-nistp256", &[b"nistp384", &off_curve]),
        line("ssh-rsa", &[&[1, 0, 1], &even]),
        line("ssh-rsa", &[&[1], &padded]),
        line("ssh-rsa", &[&[0, 1, 0, 1], &padded]),
        line("ssh-rsa", &[&[2], &padded]),
        line("ssh-rsa", &[&[1, 0, 1], &small_factor]),
        line("sk-ssh-ed25519@openssh.com", &[&small_order, b"ssh:"]),
    ] {
        assert!(JobKey::parse(&text).is_err(), "{text}");
    }
    let stage = Stage::new();
    let good = stage.job(&["-t", "ed25519"]).public_line();
    let point = BASE64
        .decode(good.split(' ').nth(1).unwrap().as_bytes())
        .unwrap();
    let point = &point[point.len() - 32..];
    let security_key = |application: &[u8]| {
        JobKey::parse(&line("sk-ssh-ed25519@openssh.com", &[point, application]))
    };
    assert!(security_key(b"ssh:").is_ok());
    for application in [
        b"".as_slice(),
        b"https://x",
        b"ssh:\n",
        b"ssh: x",
        &[b's'; 65],
    ] {
        assert!(security_key(application).is_err());
    }
    // Base64 that other readers would take for the same key.
    let encoded = good.split(' ').nth(1).unwrap();
    for other in [
        format!("{encoded}="),
        format!("{encoded}AAAA"),
        encoded.replace('I', ""),
    ] {
        assert!(
            JobKey::parse(&format!("ssh-ed25519 {other}")).is_err(),
            "{other}"
        );
    }
    // Bits that the last character of base64 has to spare: 104 bytes end in `=`, and in two such bits.
    let good = stage.job(&["-t", "ecdsa", "-b", "256"]).public_line();
    let (front, _) = good.split_at(good.find('=').unwrap() - 1);
    let spellings = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        .chars()
        .filter(|last| JobKey::parse(&format!("{front}{last}=")).is_ok());
    assert_eq!(spellings.count(), 1);
    // A number with a zero byte too many.
    let rsa = stage.job(&["-t", "rsa", "-b", "3072"]).public_line();
    let blob = BASE64
        .decode(rsa.split(' ').nth(1).unwrap().as_bytes())
        .unwrap();
    let modulus = [&[0], &blob[blob.len() - 385..]].concat();
    assert!(JobKey::parse(&line("ssh-rsa", &[&[1, 0, 1], &modulus[1..]])).is_ok());
    assert!(JobKey::parse(&line("ssh-rsa", &[&[1, 0, 1], &modulus])).is_err());
    assert!(JobKey::parse(&line("ssh-rsa", &[&[0, 1, 0, 1], &modulus[1..]])).is_err());
}

/// T-149
#[test]
fn the_key_of_the_ca_itself_is_not_signed() {
    let stage = Stage::new();
    let key = JobKey::parse(&stage.ca_public_line()).unwrap();
    let refused = stage
        .ca
        .sign(&request(&definition(), &key, SystemClock::new().now()));
    insta::assert_snapshot!(refused.unwrap_err(), @"`public_key` is the key of the CA; generate \
        a new key pair for the job");
}

/// T-149
#[test]
fn a_ca_key_that_others_can_read_or_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let error = |name: &str| {
        let error = CaKey::read(&path(name)).unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    keygen(&path("good"), &["-t", "ed25519"]);
    for mode in [0o400, 0o440, 0o600, 0o640] {
        fs::set_permissions(path("good"), fs::Permissions::from_mode(mode)).unwrap();
        CaKey::read(&path("good")).unwrap();
    }
    for mode in [0o604, 0o644, 0o660, 0o700, 0o755, 0o777] {
        fs::set_permissions(path("good"), fs::Permissions::from_mode(mode)).unwrap();
        assert!(CaKey::read(&path("good")).is_err(), "{mode:o}");
    }
    insta::assert_snapshot!(error("good"), @"SSH CA key file `FOLDER/good` has mode 0777, expected 0400, 0440, 0600 or 0640; fix it with `chmod 0400`, in Kubernetes with `defaultMode: 0440` in the secret volume");
    keygen(&path("rsa"), &["-t", "rsa", "-b", "3072"]);
    keygen(&path("p384"), &["-t", "ecdsa", "-b", "384"]);
    keygen(&path("pem"), &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
    keygen(&path("locked"), &["-t", "ed25519"]);
    run(Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", "a passphrase", "-f"])
        .arg(path("locked")));
    insta::assert_snapshot!(error("rsa"), @"SSH CA key file `FOLDER/rsa` holds a key of type `ssh-rsa`, expected `ssh-ed25519` or `ecdsa-sha2-nistp256`; make one with `ssh-keygen -t ed25519 -N ''`");
    assert!(error("p384").contains("holds a key of type `ecdsa-sha2-nistp384`"));
    insta::assert_snapshot!(error("pem"), @"SSH CA key file `FOLDER/pem` does not begin with `-----BEGIN OPENSSH PRIVATE KEY-----`; expected a private key in the format of OpenSSH, made by `ssh-keygen -t ed25519 -N ''`");
    insta::assert_snapshot!(error("locked"), @"SSH CA key file `FOLDER/locked` is encrypted, expected a key without a passphrase; remove it with `ssh-keygen -p -N ''`");
    assert!(error("rsa.pub").contains("has mode"));
    insta::assert_snapshot!(error("missing"), @"SSH CA key file `FOLDER/missing` cannot be read: No such file or directory (os error 2)");
    fs::create_dir(path("folder")).unwrap();
    assert!(error("folder").contains("is a directory, expected a regular file"));
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(error("pipe").contains("is a pipe or a device"));
}

/// T-149
#[test]
fn a_damaged_ca_key_is_refused_and_nothing_of_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca");
    keygen(&path, &["-t", "ed25519"]);
    let good = fs::read_to_string(&path).unwrap();
    let shown = format!("{:?}", CaKey::read(&path).unwrap());
    assert!(shown.starts_with("CaKey(\"SHA256:"), "{shown}");
    let body: Vec<&str> = good.lines().collect();
    for text in [
        good.replace(body[body.len() - 1], ""),
        good.replace(body[2], body[1]),
        format!("{}\n{}\n", body[0], body[body.len() - 1]),
        format!("{good}{good}"),
    ] {
        fs::write(&path, &text).unwrap();
        let error = CaKey::read(&path).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("is not a complete private key"), "{said}");
        assert!(!said.contains(body[1].split_at(20).0), "{said}");
    }
}
