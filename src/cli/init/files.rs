//! The texts of a first broker's files. Not: where they are written.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use aws_lc_rs::rand;
use data_encoding::BASE64URL_NOPAD;
use url::Url;

use super::job::{Ci, Job};
use crate::cli::Failure;
use crate::clock::{Clock as _, SystemClock};
use crate::policy::PolicySet;
use crate::policy::examples::{Coverage, record};
use crate::rootkey::RootKey;
use crate::secret::Secret;
use crate::text::escape;
use crate::yaml::scalar::{quoted, scalar};

/// What the files are made from.
pub(super) struct FilePlan {
    pub(super) issuer: String,
    pub(super) job: Job,
    pub(super) database: Option<Database>,
}

/// `HOST[:PORT]/DATABASE`.
pub(super) struct Database {
    host: String,
    port: Option<u16>,
    name: String,
}

/// A file to write.
pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) text: Secret<String>,
    pub(super) is_secret: bool,
    pub(super) what: &'static str,
}

impl Database {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::Usage(format!(
                "`--postgres` is `{}`, expected `HOST[:PORT]/DATABASE`, e.g. `db.acme.dev/shop`, with a database name of letters, digits, `_` and `-`",
                escape(text)
            ))
        };
        let (server, name) = text.rsplit_once('/').ok_or_else(wrong)?;
        let url = Url::parse(&format!("postgres://{server}")).map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let starts = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        let is_only_host = url.username().is_empty() && url.password().is_none();
        if !(is_only_host && host.bytes().all(is_host)) || url.path() != "" {
            return Err(wrong());
        }
        if !starts || name.len() > 40 || !name.bytes().all(is_plain) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port: url.port(),
            name: name.to_owned(),
        })
    }

    fn target(&self) -> String {
        format!("{}-db", self.name)
    }

    /// On this machine, where the connection needs no TLS.
    fn is_local(&self) -> bool {
        self.host == "localhost" || is_loopback_address(&self.host)
    }

    fn group(&self) -> String {
        format!("{}_readers", self.name.replace('-', "_"))
    }
}

impl FilePlan {
    pub(super) fn files(&self) -> Result<Vec<File>, Failure> {
        let root_key = RootKey::generate().map_err(|error| Failure::Local(error.to_string()))?;
        let public = |name, text: String, what| File {
            name,
            text: Secret::new(text),
            is_secret: false,
            what,
        };
        let secret = |name, text, what| File {
            name,
            text,
            is_secret: true,
            what,
        };
        let mut files = vec![
            public(SETTINGS, self.settings(), "the settings of the broker"),
            secret(
                ROOT_KEY,
                root_key.to_text(),
                "the root key: keep a copy with your other secrets",
            ),
        ];
        if self.database.is_some() {
            files.push(secret(
                PASSWORD,
                password()?,
                "the password of the login `hallpass`",
            ));
            files.push(secret(
                CLEANER_PASSWORD,
                password()?,
                "the password of the login `hallpass_clean`",
            ));
        }
        files.push(public(ROOT, self.root(), "whom to trust"));
        if let Some(ca) = &self.job.ci_ca {
            files.push(public(CI_CA, ca.clone(), "the CA of your CI"));
        }
        files.push(public(
            POLICY,
            self.policy(),
            "a credential, and the jobs that may have it",
        ));
        let (name, text) = match self.job.ci {
            Ci::GitHub => ("job.github.yml", self.github_job()),
            Ci::GitLab => ("job.gitlab-ci.yml", self.gitlab_job()),
        };
        files.push(public(name, text, "a job to try it with"));
        Ok(files)
    }

    fn settings(&self) -> String {
        let listen = match self.local_port() {
            Some((address, operator)) => {
                format!("listen: {{ public: {address}, operator: 127.0.0.1:{operator} }}\n")
            }
            None => "# A proxy in front terminates TLS and forwards to this address.\n\
                listen: { public: 127.0.0.1:8080, operator: 127.0.0.1:8081 }\n"
                .to_owned(),
        };
        let mut text = format!(
            "# The settings of hallpass. Paths are relative to this file.\n\
             issuer: {issuer} # the URL by which jobs reach the broker\n\
             root_key: {{ file: {ROOT_KEY} }} # the same on every replica\n\
             policies: {{ path: policies }} # changes are loaded while the broker runs\n\
             {listen}\
             audit:\n  sinks:\n    - {{ kind: file, path: audit.jsonl, required: true }}\n",
            issuer = scalar_of_url(&self.issuer),
        );
        if let Some(database) = &self.database {
            let port = database
                .port
                .map_or_else(String::new, |port| format!("    port: {port}\n"));
            text.extend([format!(
                "targets:\n  {target}:\n    kind: postgres\n    host: {host}\n{port}    \
                 databases: [{name}] # credentials name one of them\n    \
                 user: hallpass\n    password: {{ file: {PASSWORD} }}\n    \
                 cleaner: {{ user: hallpass_clean, password: {{ file: {CLEANER_PASSWORD} }} }}\n{tls}",
                target = database.target(),
                host = quoted(&database.host),
                tls = if database.is_local() {
                    "    tls: disable # only for a server on this machine\n"
                } else {
                    ""
                },
                name = scalar(&database.name),
            )]);
        }
        text
    }

    /// The address to listen at, and a port beside it, of a broker that jobs of this machine reach without a
    /// proxy.
    fn local_port(&self) -> Option<(String, u16)> {
        let url = Url::parse(&self.issuer).ok()?;
        let host = url.host_str().filter(|_| url.scheme() == "http")?;
        let port = url.port_or_known_default()?;
        let beside = port.checked_add(1).or_else(|| port.checked_sub(1))?;
        Some((quoted(&format!("{host}:{port}")), beside))
    }

    fn root(&self) -> String {
        let Job {
            ci,
            issuer_url,
            owner,
            owner_id,
            ..
        } = &self.job;
        let name = ci.name();
        let mut url = issuer_url
            .as_ref()
            .map_or_else(String::new, |url| format!("    url: {}\n", quoted(url)));
        if self.job.ci_ca.is_some() {
            let file = CI_CA.trim_start_matches("policies/");
            url.extend(["    ca: ", file, "\n"]);
        }
        let networks = issuer_url.as_deref().map(networks).unwrap_or_default();
        if !networks.is_empty() {
            let networks = networks.join(", ");
            url.extend([
                "    networks: [",
                &networks,
                "] # where it is, since that is not the internet\n",
            ]);
        }
        format!(
            "# Whom to trust. A shared issuer signs for all its customers, so `tenants` says which are yours.\n\
             issuers:\n  {name}:\n    provider: {name}\n{url}    tenants:\n      \
             - {{ owner: {}, owner_id: {} }}\n",
            scalar(owner),
            quoted(owner_id),
        )
    }

    fn policy(&self) -> String {
        let owner = scalar(&self.job.owner);
        let credential = match &self.database {
            Some(database) => format!(
                "  {credential}:\n    kind: postgres\n    target: {target} # its host is in {SETTINGS}\n    \
                 database: {name}\n    group: {group} # the role whose rights a login gets\n    max_ttl: 1h\n    \
                 owner: {owner}\n    purpose: reads the database {name}\n    class: moderate\n",
                credential = self.credential(),
                target = database.target(),
                name = scalar(&database.name),
                group = scalar(&database.group()),
            ),
            None => format!(
                "  {credential}:\n    kind: jwt\n    audience: https://api.example # the service that checks the token\n    \
                 max_ttl: 10m\n    owner: {owner}\n    purpose: calls to a service\n    class: moderate\n",
                credential = self.credential(),
            ),
        };
        let mut when = String::new();
        for line in self.job.when().lines() {
            when.extend(["    ", line, "\n"]);
        }
        format!(
            "# What exists.\ncredentials:\n{credential}\n\
             # Who may have it. Every line of `when` must hold.\npolicies:\n  \
             - name: {policy}\n    issuer: {issuer}\n{when}    grant:\n      \
             - {{ credential: {name}, ttl: 10m }}\n",
            policy = scalar(&self.credential().replace('/', "-")),
            issuer = self.job.ci.name(),
            name = scalar(&self.credential()),
        )
    }

    fn credential(&self) -> String {
        match &self.database {
            Some(database) => format!("{}/read", database.target()),
            None => "example-api".to_owned(),
        }
    }

    fn command(&self) -> String {
        match &self.database {
            Some(_) => format!(
                "hallpass exec {} -- psql -c 'SELECT current_user'",
                self.credential()
            ),
            None => format!(
                "hallpass exec {} -- sh -c 'test -n \"$HALLPASS_TOKEN\" && echo got a token'",
                self.credential()
            ),
        }
    }

    fn github_job(&self) -> String {
        format!(
            "# Copy to .github/workflows/hallpass.yml in {repository}. `hallpass` must be on the runner's PATH.\n\
             on:\n  push: {{ {refs} }}\n  workflow_dispatch:\njobs:\n  try:\n    \
             runs-on: ubuntu-24.04\n{environment}    permissions:\n      \
             id-token: write # lets the job request a token from GitHub\n    env:\n      \
             HALLPASS_BROKER: {issuer}\n    steps:\n      - run: {command}\n",
            repository = self.job.repository,
            refs = self.job.git_ref.github(),
            environment = self.environment("    "),
            issuer = scalar_of_url(&self.issuer),
            command = self.command(),
        )
    }

    fn gitlab_job(&self) -> String {
        let issuer = scalar_of_url(&self.issuer);
        format!(
            "# Add to .gitlab-ci.yml in {repository}. `hallpass` must be on the runner's PATH.\n\
             try:\n  rules:\n    - if: {rule}\n{environment}  id_tokens:\n    \
             HALLPASS_ID_TOKEN:\n      aud: {issuer}\n  variables:\n    HALLPASS_BROKER: {issuer}\n  \
             script:\n    - {command}\n",
            repository = self.job.repository,
            rule = self.job.git_ref.gitlab(),
            environment = self.environment("  "),
            command = self.command(),
        )
    }

    fn environment(&self, indent: &str) -> String {
        let environment = self
            .job
            .environment
            .as_deref()
            .filter(|name| !name.is_empty());
        environment.map_or_else(String::new, |name| {
            format!("{indent}environment: {}\n", scalar(name))
        })
    }

    /// What remains to be done by hand, one step a line.
    pub(super) fn next_steps(&self, folder: &Path) -> Vec<String> {
        // The commands look for the settings in the current folder.
        let config = match folder.to_str() {
            Some(".") => String::new(),
            Some(_) | None => format!(" --config {}", folder.join(SETTINGS).display()),
        };
        let mut steps = Vec::new();
        if let Some(database) = &self.database {
            let (target, group) = (database.target(), database.group());
            steps.extend([
                format!("As an administrator of the database, create the role `{group}` (NOLOGIN) and grant it what jobs may read. `psql` below is that administrator's."),
                format!("hallpass target install {target}{config} --server-version \"$(psql -XAtc 'SHOW server_version' postgres | cut -d. -f1)\" > install.sql"),
                "Review install.sql, then run it: psql -X -f install.sql postgres".to_owned(),
                format!("Set the passwords of both logins: hallpass target passwords {target}{config} | psql -X postgres"),
                "Close the server's other databases to leased logins: psql -Xc 'REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC' postgres".to_owned(),
                format!("hallpass target check {target}{config}"),
            ]);
        }
        steps.extend([
            match self.local_port() {
                Some(_) => format!("hallpass serve{config}"),
                None => format!(
                    "hallpass serve{config}, behind a proxy that serves {} with TLS.",
                    self.issuer
                ),
            },
            match &self.job.ci_ca {
                Some(_) => format!(
                    "Be the job: HALLPASS_BROKER={} HALLPASS_ID_TOKEN=$(hallpass dev token --folder ci) {}",
                    self.issuer,
                    self.command()
                ),
                None => "Copy the job to the repository and run it. `hallpass doctor` in the job checks its set-up.".to_owned(),
            },
        ]);
        steps
    }
}

/// The decisions of the policies as tests.
pub(super) fn tests(set: &PolicySet) -> Option<File> {
    let coverage = Coverage::of(set, &[]);
    let recorded = record(set, &coverage, &BTreeSet::new(), SystemClock::new().now());
    let entries: Vec<String> = recorded.files.into_values().flatten().collect();
    (!entries.is_empty()).then(|| File {
        name: TESTS,
        text: Secret::new(format!(
            "# Jobs, and the decision that each must get.\ntests:\n{}",
            entries.concat()
        )),
        is_secret: false,
        what: "tests: `hallpass policy test`",
    })
}

/// The addresses of an issuer that is not on the internet, as networks. None if it cannot be resolved: then
/// `serve` says what is missing.
fn networks(issuer: &str) -> Vec<String> {
    let Ok(url) = Url::parse(issuer) else {
        return Vec::new();
    };
    let port = url.port_or_known_default().unwrap_or_default();
    let found = url.host_str().map(|host| (host, port).to_socket_addrs());
    let found = found.and_then(Result::ok).into_iter().flatten();
    let networks = found.filter_map(|address| match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() => Some(format!("{ip}/32")),
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unique_local() => Some(format!("\"{ip}/128\"")),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    networks.collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_loopback_address(host: &str) -> bool {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.parse()
        .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn password() -> Result<Secret<String>, Failure> {
    let mut bytes = [0; 24];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::Local("the system has no random numbers".to_owned()))?;
    let bytes = Secret::new(bytes);
    Ok(Secret::new(BASE64URL_NOPAD.encode(bytes.expose())))
}

/// A URL is plain YAML unless it holds something else.
fn scalar_of_url(url: &str) -> String {
    let is_plain = url.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'.' | b'-' | b'_')
    });
    if is_plain && url.starts_with("https://") {
        url.to_owned()
    } else {
        quoted(url)
    }
}

pub(super) const SETTINGS: &str = "hallpass.yaml";
pub(super) const ROOT: &str = "policies/root.yaml";
pub(super) const POLICY: &str = "policies/first.yaml";
/// Policies name it by its path in their folder.
pub(super) const CI_CA: &str = "policies/ci-ca.pem";
const TESTS: &str = "policies/first.test.yaml";
const ROOT_KEY: &str = "root.key";
const PASSWORD: &str = "secrets/hallpass";
const CLEANER_PASSWORD: &str = "secrets/hallpass_clean";
