//! The same request twice in one job gives the same login, wherever a folder of the job is found or named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::fake::{Fake, refusal, stderr, told};
use crate::support::leaks::Observed as _;

/// The variables that a CI documents for a job in `folder`, without its ID token.
type Job = fn(&Path) -> Vec<(&'static str, String)>;

const CIRCLECI: Job = |folder| {
    vec![
        ("CI", "true".to_owned()),
        ("CIRCLECI", "true".to_owned()),
        ("CIRCLE_JOB", "deploy".to_owned()),
        ("CIRCLE_WORKING_DIRECTORY", folder.display().to_string()),
        ("CIRCLE_WORKFLOW_JOB_ID", "4f1c".to_owned()),
    ]
};

const BUILDKITE: Job = |folder| {
    vec![
        ("CI", "true".to_owned()),
        ("BUILDKITE", "true".to_owned()),
        ("BUILDKITE_JOB_ID", "0190".to_owned()),
        (
            "BUILDKITE_BUILD_CHECKOUT_PATH",
            folder.display().to_string(),
        ),
    ]
};

const BITBUCKET: Job = |folder| {
    vec![
        ("CI", "true".to_owned()),
        ("BITBUCKET_BUILD_NUMBER", "7".to_owned()),
        ("BITBUCKET_CLONE_DIR", folder.display().to_string()),
        ("BITBUCKET_STEP_UUID", "{b3f1}".to_owned()),
    ]
};

const JENKINS: Job = |folder| {
    vec![
        ("JENKINS_URL", "https://jenkins.acme.dev/".to_owned()),
        ("BUILD_NUMBER", "7".to_owned()),
        ("WORKSPACE", folder.join("job").display().to_string()),
        // It "may not initially exist".
        (
            "WORKSPACE_TMP",
            folder.join("job@tmp").display().to_string(),
        ),
    ]
};

const AZURE: Job = |folder| {
    vec![
        ("TF_BUILD", "True".to_owned()),
        ("BUILD_BUILDID", "7".to_owned()),
        ("AGENT_TEMPDIRECTORY", folder.display().to_string()),
    ]
};

const BARE: Job = |_| Vec::new();

fn step(fake: &Fake, job: &[(&str, String)], arguments: &[&str]) -> Command {
    let mut command = fake.hallpass(arguments);
    command.env("HALLPASS_ID_TOKEN", fake.token("1"));
    command.envs(job.iter().map(|(name, value)| (name, value)));
    command
}

fn keys(fake: &Fake) -> Vec<String> {
    let asked = fake.asked("/token").into_iter();
    asked
        .map(|asked| asked.headers["idempotency-key"].clone())
        .collect()
}

fn are_shared(fake: &Fake, steps: [Command; 2]) -> bool {
    for mut step in steps {
        let output = step.observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    let keys = keys(fake);
    assert_eq!(keys.len(), 2);
    keys[0] == keys[1]
}

/// T-110
#[test]
fn a_folder_that_the_ci_has_is_found() {
    for (job, name) in [(JENKINS, "Jenkins"), (AZURE, "Azure")] {
        let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
        let job = job(folder.path());
        let step = || step(&fake, &job, &["get", "shop-db/migrate"]);
        assert!(are_shared(&fake, [step(), step()]), "{name}");
    }
}

/// T-110
#[test]
fn a_folder_can_be_named_on_every_ci_and_on_a_bare_machine() {
    for job in [CIRCLECI, BUILDKITE, BITBUCKET, JENKINS, AZURE, BARE] {
        let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
        let variables = job(folder.path());
        let named = folder.path().join("made/for the job");
        let first = step(
            &fake,
            &variables,
            &[
                "get",
                "shop-db/migrate",
                "--job-dir",
                named.to_str().unwrap(),
            ],
        );
        let mut second = step(
            &fake,
            &variables,
            &["exec", "shop-db/migrate", "--keep", "--", "true"],
        );
        second.env("HALLPASS_JOB_DIR", &named);
        assert!(are_shared(&fake, [first, second]), "{variables:?}");
        let mode = fs::metadata(&named).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn without_a_folder_a_second_step_says_what_to_do() {
    for job in [CIRCLECI, BUILDKITE, BITBUCKET, BARE] {
        let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
        let job = job(folder.path());
        fake.next("/token", refusal("token.replayed"));
        let output = step(&fake, &job, &["get", "shop-db/migrate"]).observed();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        insta::allow_duplicates! {
            insta::assert_snapshot!(stderr(&output), @"
            hallpass: denied: the job's ID token was already used for this credential (token.replayed, request req_1)

            An ID token can be used once for each credential.
            The steps of a job can share one login, but no folder is known for it: name one that only this
            job can read in every step, with `--job-dir DIR` or HALLPASS_JOB_DIR, and use `hallpass get` or
            `hallpass exec --keep` in each.
            ");
        }
    }
}

#[test]
fn a_named_folder_that_cannot_be_made_costs_no_login() {
    let (fake, folder) = (Fake::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let inside = file.join("folder");
    let arguments = [
        "get",
        "shop-db/migrate",
        "--job-dir",
        inside.to_str().unwrap(),
    ];
    let output = step(&fake, &[], &arguments).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(
        stderr(&output).contains("cannot be used"),
        "{}",
        told(&output)
    );
    // T-136: a variable that the CI sets fails no job.
    let mut step = step(&fake, &[], &["get", "shop-db/migrate"]);
    let output = step.env("HALLPASS_JOB_DIR", &inside).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}
