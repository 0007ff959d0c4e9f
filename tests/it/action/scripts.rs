//! The scripts for Azure, Buildkite, CircleCI, Bitbucket and Jenkins, each run with the variables and programs
//! that its CI documents, against a fake broker.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use super::runner::on_page;
use crate::client::fake::{Fake, LEASE, PASSWORD, stderr, token_for, told};
use crate::support::leaks;
use crate::support::leaks::Observed as _;
use crate::support::sources::root;

/// What the job's script does: it shows that the login is there and the identity is not, and fails.
const JOB: &str = "#!/bin/sh\ntest -n \"$PGPASSWORD\" && test -z \"${HALLPASS_ID_TOKEN-}${BITBUCKET_STEP_OIDC_TOKEN-}\" && echo \"as $PGUSER\"; exit 7\n";

struct Machine {
    fake: Fake,
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            fake: Fake::start(),
            folder: tempfile::tempdir().unwrap(),
        };
        let script = machine.folder.path().join("migrate.sh");
        fs::write(&script, JOB).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        // Each prints a token if it is asked for one as its documentation says.
        let url = machine.fake.url();
        machine.program(
            "buildkite-agent",
            &format!("oidc request-token --audience {url} --claim organization_id,pipeline_id"),
        );
        machine.program(
            "circleci",
            &format!("run oidc get --claims {{\"aud\":\"{url}\"}}"),
        );
        machine.program(
            "az",
            &format!("account get-access-token --resource {url} --query accessToken --output tsv"),
        );
        machine
    }

    fn token(&self) -> String {
        self.fake.token("1")
    }

    fn program(&self, name: &str, arguments: &str) {
        let path = self.folder.path().join(name);
        let token = self.token();
        let text = format!("#!/bin/sh\n[ \"$*\" = '{arguments}' ] && echo '{token}'\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The template's script, as a file.
    fn azure(&self) -> PathBuf {
        let template = fs::read_to_string(root().join("deploy/ci/azure/hallpass.yml")).unwrap();
        let (_, script) = template.split_once("inlineScript: |\n").unwrap();
        let (script, _) = script.split_once("    env:\n").unwrap();
        assert!(!script.contains("${{"), "an expression in a script is code");
        let lines = script.replace("\n        ", "\n");
        let path = self.folder.path().join("inline.sh");
        fs::write(&path, format!("#!/bin/bash\n{}", lines.trim_start())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The script with these variables, in the folder of [`JOB`].
    fn runs(&self, script: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        self.runs_file(&root().join("deploy/ci").join(script), arguments, variables);
    }

    fn runs_file(&self, script: &Path, arguments: &[&str], variables: &[(&str, &str)]) {
        let output = self.output(script, arguments, variables);
        let log = told(&output);
        assert_eq!(output.status.code(), Some(7), "{log}");
        assert!(log.contains("as hp_abc1234_x"), "{log}");
        assert!(!log.contains(PASSWORD) && !log.contains(LEASE), "{log}");
        let revoked = self.fake.asked("/revoke");
        assert_eq!(revoked.len(), 1, "{log}");
        assert_eq!(revoked[0].form["token"], LEASE);
    }

    fn output(&self, script: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let hallpass = Path::new(env!("CARGO_BIN_EXE_hallpass")).parent().unwrap();
        let tools = self.folder.path().display();
        let output = Command::new(script)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env(
                "PATH",
                format!("{tools}:{}:/usr/bin:/bin", hallpass.display()),
            )
            .envs(variables.iter().copied())
            .observed();
        let log = told(&output);
        leaks::said("the log of a job", log.as_bytes());
        leaks::check();
        output
    }
}

/// The page's credential as a block of YAML may hold it: on a line of its own, indented.
fn lines(page: &str) -> String {
    format!("\n  {} \n", on_page(page, "credentials: "))
}

/// T-210
#[test]
fn an_azure_step_has_a_login_until_it_fails() {
    let machine = Machine::new();
    let template = fs::read_to_string(root().join("deploy/ci/azure/hallpass.yml")).unwrap();
    let (_, rest) = template.split_once("    env:\n").unwrap();
    for name in ["BROKER", "CREDENTIALS", "COMMAND"] {
        let parameter = name.to_lowercase();
        assert!(rest.contains(&format!(
            "HALLPASS_{name}: ${{{{ parameters.{parameter} }}}}"
        )));
    }
    let path = machine.azure();
    let job = on_page("azure", "command: ");
    // The command cannot use what az is logged in as.
    let command = format!("test ! -e \"$AZURE_CONFIG_DIR/azureProfile.json\" && {job}");
    let logged_in = machine.folder.path().join("azure");
    fs::create_dir(&logged_in).unwrap();
    fs::write(logged_in.join("azureProfile.json"), "{}").unwrap();
    machine.runs_file(
        &path,
        &[],
        &[
            ("AZURE_CONFIG_DIR", logged_in.to_str().unwrap()),
            ("HALLPASS_BROKER", &machine.fake.url()),
            ("HALLPASS_CREDENTIALS", &lines("azure")),
            ("HALLPASS_COMMAND", &command),
        ],
    );
}

/// A step whose token is good elsewhere too: Azure DevOps' own, or Bitbucket's with its default audience.
#[test]
fn a_token_that_names_another_party_is_not_sent() {
    let fake = Fake::start();
    let url = fake.url();
    for audience in [
        json!("api://AzureADTokenExchange"),
        json!([url, "ari:cloud:bitbucket::workspace/0f0a8a1c"]),
    ] {
        let output = fake
            .hallpass(&["exec", "shop-db/migrate", "--", "true"])
            .env("HALLPASS_ID_TOKEN", token_for(&audience, "1"))
            .observed();
        let log = told(&output);
        assert!(!output.status.success(), "{log}");
        let other = audience.as_str().or(audience[1].as_str()).unwrap();
        assert!(log.contains(other), "{log}");
    }
    assert!(fake.asked("/token").is_empty());
}

/// T-210
#[test]
fn a_buildkite_step_has_a_login_until_it_fails() {
    let machine = Machine::new();
    machine.runs(
        "buildkite/hooks/command",
        &[],
        &[
            ("BUILDKITE", "true"),
            ("BUILDKITE_PLUGIN_HALLPASS_BROKER", &machine.fake.url()),
            (
                "BUILDKITE_PLUGIN_HALLPASS_CREDENTIALS_0",
                &on_page("buildkite", "credentials: "),
            ),
            ("BUILDKITE_COMMAND", &on_page("buildkite", "command: ")),
        ],
    );
}

/// T-210
#[test]
fn a_circleci_step_has_a_login_until_it_fails() {
    let machine = Machine::new();
    machine.runs(
        "circleci/src/scripts/exec.sh",
        &[],
        &[
            ("CIRCLECI", "true"),
            ("HALLPASS_BROKER", &machine.fake.url()),
            ("HALLPASS_CREDENTIALS", &lines("circleci")),
            ("HALLPASS_COMMAND", &on_page("circleci", "command: ")),
        ],
    );
}

/// T-210
#[test]
fn a_bitbucket_step_has_a_login_until_it_fails() {
    let machine = Machine::new();
    let arguments = on_page("bitbucket", "hallpass exec ");
    let arguments: Vec<&str> = std::iter::once("exec")
        .chain(arguments.split(' '))
        .collect();
    machine.runs_file(
        Path::new(env!("CARGO_BIN_EXE_hallpass")),
        &arguments,
        &[
            ("HALLPASS_BROKER", &machine.fake.url()),
            ("BITBUCKET_BUILD_NUMBER", "7"),
            ("BITBUCKET_STEP_OIDC_TOKEN", &machine.token()),
        ],
    );
}

/// T-210
#[test]
fn a_jenkins_step_has_a_login_until_it_fails() {
    let machine = Machine::new();
    machine.runs(
        "jenkins/resources/hallpass.sh",
        &[],
        &[
            ("HALLPASS_BROKER", &machine.fake.url()),
            ("HALLPASS_CREDENTIALS", &lines("jenkins")),
            ("HALLPASS_COMMAND", &on_page("jenkins", "script: ")),
            ("HALLPASS_ID_TOKEN", &machine.token()),
        ],
    );
}

/// An unset variable of the pipeline must not become a job without its login.
#[test]
fn a_step_without_a_credential_fails_and_asks_for_no_token() {
    let machine = Machine::new();
    let url = machine.fake.url();
    for script in [
        machine.azure(),
        root().join("deploy/ci/circleci/src/scripts/exec.sh"),
        root().join("deploy/ci/jenkins/resources/hallpass.sh"),
    ] {
        let variables = [
            ("HALLPASS_BROKER", url.as_str()),
            ("HALLPASS_CREDENTIALS", " \n"),
            ("HALLPASS_COMMAND", "exit 7"),
        ];
        let output = machine.output(&script, &[], &variables);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let expected = "hallpass: credentials is empty; expected one or more, such as shop-db/read";
        assert_eq!(stderr(&output).trim(), expected);
    }
    // The plugin of Buildkite takes a list, one of whose members may be empty.
    let variables = [
        ("BUILDKITE_PLUGIN_HALLPASS_BROKER", url.as_str()),
        ("BUILDKITE_PLUGIN_HALLPASS_CREDENTIALS_0", "A=shop-db/read"),
        ("BUILDKITE_PLUGIN_HALLPASS_CREDENTIALS_1", ""),
        (
            "BUILDKITE_PLUGIN_HALLPASS_CREDENTIALS_2",
            "B=shop-db/migrate",
        ),
        ("BUILDKITE_COMMAND", "exit 7"),
    ];
    let hook = root().join("deploy/ci/buildkite/hooks/command");
    let output = machine.output(&hook, &[], &variables);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(machine.fake.asked("/token").is_empty());
}
