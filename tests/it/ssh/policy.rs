//! Definitions of SSH credentials as a policy file has them.

use hallpass::credential::ssh::{Extension, KIND, SshDefinition};
use hallpass::policy::PolicySet;

fn file(keys: &str) -> String {
    format!(
        "credentials:\n  deploy-host:\n    kind: ssh\n    target: web-hosts\n    max_ttl: 10m\n    \
         owner: web\n    purpose: deploys\n    class: moderate\n{keys}"
    )
}

/// What is said of a definition with these lines.
fn said(keys: &str) -> String {
    let errors = PolicySet::from_texts(&[("root.yaml", &file(keys))]).unwrap_err();
    let errors = errors.iter().map(|error| error.message.clone());
    errors.collect::<Vec<_>>().join("\n")
}

/// T-145
#[test]
fn a_definition_is_read_as_it_is_written() {
    let text = file(
        "    principals: [deploy, web]\n    extensions: [permit-pty]\n    \
         force_command: /usr/bin/deploy --to 'a b'\n    source_address: [192.0.2.7, '2001:db8::/32']\n",
    );
    let loaded = PolicySet::from_texts(&[("root.yaml", &text)]).unwrap();
    let credential = loaded.set.credential("deploy-host").unwrap();
    assert_eq!(credential.kind, &KIND);
    assert_eq!(credential.target(), Some("web-hosts"));
    let definition = credential.of::<SshDefinition>().unwrap();
    assert_eq!(definition.principals.as_slice(), ["deploy", "web"]);
    assert_eq!(definition.extensions, [Extension::Pty].into());
    let command = definition.force_command.as_ref().unwrap();
    assert_eq!(command.as_str(), "/usr/bin/deploy --to 'a b'");
    let networks = definition.source_address.as_ref().unwrap();
    assert_eq!(networks.as_str(), "192.0.2.7/32,2001:db8::/32");
    let plain = PolicySet::from_texts(&[("root.yaml", &file("    principals: deploy\n"))]).unwrap();
    let credential = plain.set.credential("deploy-host").unwrap();
    let definition = credential.of::<SshDefinition>().unwrap();
    assert!(definition.extensions.is_empty());
    assert_eq!(
        (&definition.force_command, &definition.source_address),
        (&None, &None)
    );
}

/// T-145, T-148
#[test]
fn a_definition_that_would_let_in_more_or_nobody_does_not_load() {
    let principals = "    principals: [deploy]\n";
    let with = |line: &str| said(&format!("{principals}    {line}\n"));
    let all = [
        said(""),
        said("    principals: []\n"),
        said("    principals: ['*']\n"),
        with("extensions: [pty]"),
        with("extensions: []"),
        with("force_command: \"\""),
        with("force_command: \"id\\nid\""),
        with("source_address: []"),
        with("source_address: 0.0.0.0/0"),
        with("valid_principals: [root]"),
        with("permissions: {}"),
    ];
    insta::assert_snapshot!(all.join("\n\n"), @r"
    key `principals` is missing from credential `deploy-host`

    `principals` of credential `deploy-host` is empty

    `principals` of credential `deploy-host` has `*`, expected names of 1 to 128 characters `A-Z a-z 0-9 _ - . @ : / +` that begin with a letter, a digit or `_`

    `extensions` of credential `deploy-host` has `pty`, expected `permit-agent-forwarding`, `permit-port-forwarding`, `permit-pty`, `permit-user-rc` or `permit-X11-forwarding`

    `extensions` of credential `deploy-host` is empty

    `force_command` of credential `deploy-host` is empty

    `force_command` of credential `deploy-host` holds characters outside printable ASCII

    `source_address` of credential `deploy-host` is empty

    `source_address` of credential `deploy-host` has `0.0.0.0/0`: it matches every address; leave `source_address` out

    unknown key `valid_principals` in credential `deploy-host`

    unknown key `permissions` in credential `deploy-host`
    ");
}
