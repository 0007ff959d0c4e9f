//! The component for GitLab, run by gitlab-ci-local as a runner with a shell does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::issuer::{GitlabJob, gitlab_claims};
use hallpass::dev::stage::Stage;
use serde_json::json;
use tempfile::TempDir;

use super::runner::{PAGES_BROKER, job_of_page, mode, node};
use crate::client::fake::{Fake, Reply, login, told};
use crate::support::leaks;
use crate::support::leaks::Observed as _;
use crate::support::sources::root;

const COMPONENT: &str = "deploy/gitlab/templates/hallpass.yml";
const INCLUDE: &str = "deploy/gitlab/hallpass.gitlab-ci.yml";

/// A checkout with one pipeline. Its token is where GitLab puts it, since gitlab-ci-local makes none.
struct Project {
    folder: TempDir,
}

impl Project {
    fn new(stage: &Stage, pipeline: &str, variables: &[(&str, &str)]) -> Self {
        let mut job = GitlabJob::new(
            stage.issuer("gitlab").unwrap().url(),
            &stage.url,
            SystemClock::new().now(),
        );
        job.project = "acme-group/reports".to_owned();
        let token = stage
            .issuer("gitlab")
            .unwrap()
            .sign(&gitlab_claims(&job))
            .unwrap();
        leaks::token(&token);
        Self::with_token(&token, pipeline, variables)
    }

    fn with_token(token: &str, pipeline: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports");
        fs::create_dir(&path).unwrap();
        for file in [COMPONENT, INCLUDE] {
            let name = Path::new(file).file_name().unwrap();
            fs::copy(root().join(file), path.join(name)).unwrap();
        }
        fs::write(path.join(".gitlab-ci.yml"), pipeline).unwrap();
        let mut all = json!({ "HALLPASS_ID_TOKEN": token, "GITLAB_CI": "true" });
        for (name, value) in variables {
            all[name] = json!(value);
        }
        fs::write(path.join(".gitlab-ci-local-variables.yml"), all.to_string()).unwrap();
        let project = Self { folder };
        for arguments in [
            ["init", "--quiet", "--initial-branch=main"].as_slice(),
            &[
                "remote",
                "add",
                "origin",
                "https://gitlab.com/acme-group/reports.git",
            ],
            &["add", "--all"],
            &[
                "-c",
                "user.name=test",
                "-c",
                "user.email=test@acme.dev",
                "commit",
                "--quiet",
                "--message=test",
            ],
        ] {
            let output = project.command("git").args(arguments).observed();
            assert!(output.status.success(), "{}", told(&output));
        }
        project
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let hallpass = Path::new(env!("CARGO_BIN_EXE_hallpass")).parent().unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", format!("{}:/usr/bin:/bin", hallpass.display()));
        command
    }

    /// Runs the job `report`. What it writes to `$CI_PROJECT_DIR` stays.
    fn run(&self) -> Output {
        let tool = "target/gitlab-ci-local/node_modules/gitlab-ci-local/dist/index.js";
        let tool = root().join(tool);
        assert!(tool.exists(), "run deploy/dev/gitlab-ci-local.sh");
        let output = self
            .command(node())
            .arg(tool)
            .args(["--force-shell-executor", "--no-color", "report"])
            .observed();
        leaks::said("the log of a GitLab job", &output.stdout);
        leaks::said("the log of a GitLab job", &output.stderr);
        output
    }

    /// What the job wrote, as the credential it had.
    fn written(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path().join(name)).unwrap();
        text.trim().to_owned()
    }

    /// Folders of jobs that are left.
    fn left(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join("reports.tmp");
        let entries = fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_of_a_job = |path: &PathBuf| path.to_string_lossy().contains("hallpass-job-");
        paths.filter(is_of_a_job).collect()
    }
}

fn logs_in(url: &str) -> bool {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "-Atwc", "select 1", url]);
    psql.observed().status.success()
}

/// T-210
#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_job_has_its_login_until_it_ends() {
    let _leaks = leaks::watch();
    let stage = Stage::start().await.unwrap();
    // The page's job, with more to its script.
    let component = "component: $CI_SERVER_FQDN/acme/hallpass/hallpass@1.0.0";
    let page = job_of_page("gitlab");
    assert!(page.contains(component));
    let page = page.replace(component, "local: hallpass.yml");
    // Spaces around the only credential are no second one.
    let only = "credentials: shop-db/read";
    assert!(page.contains(only));
    let page = page.replace(only, "credentials: \" shop-db/read \"");
    let pipeline = page.replace(PAGES_BROKER, &stage.url)
        + r#"    - printf '%s\n' "$DATABASE_URL" > url
    - hallpass get shop-db/read --format url > again
    - hallpass get shop-db/read --format url > third
    - stat --format '%a %n' "$CI_PROJECT_DIR".tmp/hallpass-job-* "$CI_PROJECT_DIR".tmp/hallpass-job-*/* > modes
"#;
    let project = Project::new(&stage, &pipeline, &[]);
    let output = project.run();
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("hp_"), "{}", told(&output));
    let url = project.written("url");
    leaks::secret(
        "a connection address",
        url.split(['@', ':']).nth(2).unwrap(),
    );
    leaks::check();
    assert!(!logs_in(&url));
    // Each further request of the job got the same login.
    let (login, _) = url.split_once('?').unwrap();
    for file in ["again", "third"] {
        assert!(project.written(file).starts_with(login), "{file}");
    }
    let modes = project.written("modes");
    let mut modes = modes.lines().map(|line| line.split(' ').next().unwrap());
    assert_eq!(modes.next(), Some("700"));
    assert!(modes.all(|mode| mode == "600"));
    assert_eq!(project.left(), Vec::<PathBuf>::new());
    assert_eq!(mode(&project.folder.path().join("reports.tmp")) & 0o022, 0);
    stage.stop().await;
}

/// T-210
#[tokio::test(flavor = "multi_thread")]
async fn a_gitlab_job_that_fails_ends_its_login_too() {
    let _leaks = leaks::watch();
    let stage = Stage::start().await.unwrap();
    let pipeline = "include: [ { local: hallpass.gitlab-ci.yml } ]
report:
  extends: .hallpass
  script:
    - printf '%s\\n' \"$SHOP_DATABASE_URL\" > url
    - psql --no-psqlrc -Atwc 'select 1' \"$SHOP_DATABASE_URL\" > one
    - exit 3
";
    let variables = [
        ("HALLPASS_BROKER", stage.url.as_str()),
        ("HALLPASS_CREDENTIALS", " SHOP=shop-db/read "),
    ];
    let project = Project::new(&stage, pipeline, &variables);
    let output = project.run();
    assert!(!output.status.success(), "{}", told(&output));
    assert_eq!(project.written("one"), "1", "{}", told(&output));
    assert!(!logs_in(&project.written("url")));
    assert_eq!(project.left(), Vec::<PathBuf>::new());

    // The first is granted, the second denied: the job fails, and the first ends.
    let variables = [
        ("HALLPASS_BROKER", stage.url.as_str()),
        ("HALLPASS_CREDENTIALS", "A=shop-db/read B=shop-db/migrate"),
    ];
    let project = Project::new(&stage, pipeline, &variables);
    let output = project.run();
    let log = told(&output);
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("The login is gone."), "{log}");
    assert!(!project.path().join("url").exists());
    assert_eq!(project.left(), Vec::<PathBuf>::new());

    // Without a credential the job would run with a login of its own, or none.
    let variables = [variables[0], ("HALLPASS_CREDENTIALS", " ")];
    let project = Project::new(&stage, pipeline, &variables);
    let output = project.run();
    assert!(!output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("HALLPASS_CREDENTIALS is empty"));

    // A trace would print the login.
    let variables = [variables[0], variables[1], ("CI_DEBUG_TRACE", "true")];
    let project = Project::new(&stage, pipeline, &variables);
    let output = project.run();
    assert!(!output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("CI_DEBUG_TRACE would print secrets"));
    stage.stop().await;
}

/// T-386
#[test]
fn a_gitlab_job_leaves_a_shared_login_to_its_other_holders() {
    let pipeline = "include: [ { local: hallpass.gitlab-ci.yml } ]
report:
  extends: .hallpass
  script: [ 'true' ]
";
    for (is_shared, revocations) in [(true, 0), (false, 1)] {
        let fake = Fake::start();
        let mut answer = login("shop-db/read");
        answer["hallpass"]["shared"] = json!(is_shared);
        // The job's files come from two requests.
        for _ in 0..2 {
            fake.next("/token", Reply::json(200, &answer));
        }
        let variables = [
            ("HALLPASS_BROKER", fake.url()),
            ("HALLPASS_CREDENTIALS", "shop-db/read".to_owned()),
        ];
        let variables = variables
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let project = Project::with_token(&fake.token("1"), pipeline, &variables);
        let output = project.run();
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(fake.asked("/token").len(), 2);
        assert_eq!(
            fake.asked("/revoke").len(),
            revocations,
            "{}",
            told(&output)
        );
        assert_eq!(project.left(), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_component_and_the_include_have_the_same_scripts() {
    let scripts = |file: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let (_, scripts) = text.split_once("  before_script:\n").unwrap();
        scripts.to_owned()
    };
    assert_eq!(scripts(COMPONENT), scripts(INCLUDE));
}
