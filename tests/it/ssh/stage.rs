//! A CA with its key file, and jobs with theirs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hallpass::clock::{Clock, FixedClock, SystemClock, Timestamp};
use hallpass::credential::ssh::{
    CaKey, Certificate, CertificateRequest, JobKey, Principals, SshCa, SshDefinition, install,
};
use hallpass::rootkey::{RootKey, RootKeys};
use tempfile::TempDir;

use super::host::run;

/// A CA as a broker has it.
pub(crate) struct Stage {
    folder: TempDir,
    roots: RootKeys,
    pub(crate) ca: SshCa,
}

impl Stage {
    /// With an Ed25519 key, at the time of this machine, which real hosts have too.
    pub(crate) fn new() -> Self {
        Self::with(&["-t", "ed25519"], Arc::new(SystemClock::new()))
    }

    /// At a time of the test's.
    pub(crate) fn at(now: i64) -> Self {
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(now)));
        Self::with(&["-t", "ed25519"], clock)
    }

    pub(crate) fn with(key: &[&str], clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        keygen(&path, key);
        let roots = vec![RootKey::generate().unwrap()];
        let roots = RootKeys::new("https://hallpass.example", 1, roots).unwrap();
        let ca = SshCa::new(Arc::new(CaKey::read(&path).unwrap()), &roots, clock);
        Self { folder, roots, ca }
    }

    /// Another broker with the same root key and CA key.
    pub(crate) fn replica(&self, clock: Arc<dyn Clock>) -> SshCa {
        let key = CaKey::read(&self.folder.path().join("ca")).unwrap();
        SshCa::new(Arc::new(key), &self.roots, clock)
    }

    pub(crate) fn ca_public_line(&self) -> String {
        fs::read_to_string(self.folder.path().join("ca.pub")).unwrap()
    }

    pub(crate) fn install(&self) -> String {
        let principals = BTreeSet::from(["deploy".to_owned()]);
        install::text("hosts", self.ca.key(), &principals)
    }

    /// A key pair of a job, as files.
    pub(crate) fn job(&self, key: &[&str]) -> Job {
        let name = format!("job{}", fs::read_dir(self.folder.path()).unwrap().count());
        let path = self.folder.path().join(name);
        keygen(&path, key);
        Job { path }
    }

    /// A job's key with a certificate of `life` seconds beside it.
    pub(crate) fn signed_job(&self, definition: &SshDefinition, life: i64) -> Job {
        let job = self.job(&["-t", "ed25519"]);
        self.sign(&job, definition, life);
        job
    }

    pub(crate) fn sign(&self, job: &Job, definition: &SshDefinition, life: i64) -> Certificate {
        let now = SystemClock::new().now();
        let key = job.key();
        let certificate = self
            .ca
            .sign(&CertificateRequest {
                expires_at: now.plus(life),
                ..request(definition, &key, now)
            })
            .unwrap();
        fs::write(job.certificate(), &certificate.line).unwrap();
        certificate
    }
}

/// A key pair in a file, with room for a certificate where `ssh` looks for it.
pub(crate) struct Job {
    path: PathBuf,
}

impl Job {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn public_line(&self) -> String {
        fs::read_to_string(self.path.with_extension("pub")).unwrap()
    }

    pub(crate) fn key(&self) -> JobKey {
        JobKey::parse(&self.public_line()).unwrap()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-cert.pub");
        name.into()
    }
}

/// What lets in as `deploy`, and nothing more.
pub(crate) fn definition() -> SshDefinition {
    SshDefinition {
        target: "hosts".to_owned(),
        principals: Principals::new(["deploy"]).unwrap(),
        extensions: BTreeSet::new(),
        force_command: None,
        source_address: None,
    }
}

/// Of ten minutes, for a job of `acme/shop`.
pub(crate) fn request<'a>(
    definition: &'a SshDefinition,
    key: &'a JobKey,
    minted_at: Timestamp,
) -> CertificateRequest<'a> {
    CertificateRequest {
        credential: "deploy-host",
        definition,
        key,
        policy: "shop-deploy",
        repository: Some("acme/shop"),
        run: Some("123456"),
        issuer: "https://token.actions.githubusercontent.com",
        token: "jti-1",
        minted_at,
        expires_at: minted_at.plus(600),
    }
}

/// Makes a key pair, and sees to it that only its owner can read it.
pub(crate) fn keygen(path: &Path, key: &[&str]) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "job", "-f"])
        .arg(path)
        .args(key));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
