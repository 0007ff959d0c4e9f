//! `jwks:` of an issuer: its keys in a file of the folder, which are never fetched.

use crate::policy::files::Folder;
use crate::token::TrustedIssuer;
use crate::token::keys::{Admission, KeySet, Rule};
use crate::yaml::diagnostic::{Diagnostic, Severity};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader};

/// Reads the key set, and reports what is wrong with it by the rules for fetched keys. What the
/// issuer's settings say of algorithms and keys must be read before.
pub(super) fn read(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    trusted: &mut TrustedIssuer,
    folder: &mut Folder,
) {
    let Some(node) = fields.get("jwks") else {
        return;
    };
    for key in OF_FETCHES {
        if let Some(node) = fields.get(key) {
            let message = format!(
                "`{key}` has no effect beside `jwks`: the keys of the file are never fetched"
            );
            let help = format!("remove `{key}`, or remove `jwks` to fetch the keys");
            yaml.error_help("jwks", node.span, message, Some(help));
        }
    }
    let Some(inner) = yaml.fields(node, "`jwks`", &["file"]) else {
        return;
    };
    let Some(file) = yaml.required(&inner, "file", "`jwks`", node.span) else {
        return;
    };
    let Some(name) = yaml.ascii(file, "`file` of `jwks`", MAX_TEXT) else {
        return;
    };
    let document = match folder.other(name) {
        Ok(document) => document,
        Err(problem) => return yaml.error("jwks", file.span, format!("`{name}` {problem}")),
    };
    let set = match KeySet::from_jwks(document.as_bytes(), &Admission::for_issuer(trusted)) {
        Ok(set) => set,
        Err(error) => {
            let message = format!("`{name}` is not a key set: {error}");
            let help = "expected the issuer's JWKS document, `{\"keys\":[...]}`";
            return yaml.error_help("jwks", file.span, message, Some(help));
        }
    };
    for rejected in set.rejected() {
        let (index, rule) = (rejected.index, rejected.rule);
        let message = format!("key {index} of `{name}` is left out: {rule}");
        let mut problem = Diagnostic::error("jwks", yaml.place(file.span), message);
        problem = if rule == Rule::PrivateMember {
            problem
                .help("remove the private key, replace it at the issuer, and write its public half")
        } else {
            problem.severity = Severity::Warning;
            problem.help("remove the entry from the file, or correct it")
        };
        yaml.report(problem);
    }
    if set.is_empty() {
        let message = format!("`{name}` has no key that can be used");
        yaml.error("jwks", file.span, message);
    }
    trusted.pinned_keys = Some(document);
}

/// Keys of an issuer that say how its keys are fetched.
const OF_FETCHES: [&str; 3] = ["ca", "networks", "key_hosts"];
