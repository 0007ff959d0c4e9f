//! `resource:` of a credential: an absolute URI that no other credential of the set has.

use hallpass::policy::PolicySet;

const TWO: &str = "credentials:
  one: { kind: jwt, audience: https://one.acme.dev, max_ttl: 10m, owner: team, purpose: calls, class: low, resource: ONE }
  two: { kind: postgres, target: shop-db, group: readers, max_ttl: 10m, owner: team, purpose: calls, class: low, resource: TWO }
";

fn load(one: &str, two: &str) -> Result<PolicySet, String> {
    let text = TWO.replace("ONE", one).replace("TWO", two);
    match PolicySet::from_texts(&[("root.yaml", &text)]) {
        Ok(loaded) => Ok(loaded.set),
        Err(errors) => Err(errors.to_string()),
    }
}

/// T-79
#[test]
fn a_resource_leads_to_the_one_credential_that_declares_it() {
    let set = load("https://one.acme.dev", "urn:example:shop").unwrap();
    let found = |uri: &str| {
        let credential = set.credential_by_resource(uri);
        credential.map(|credential| credential.name.as_str())
    };
    assert_eq!(found("https://one.acme.dev"), Some("one"));
    assert_eq!(found("urn:example:shop"), Some("two"));
    for other in ["", "one", "https://one.acme.dev/", "HTTPS://one.acme.dev"] {
        assert_eq!(found(other), None, "{other}");
    }
}

/// T-79
#[test]
fn two_credentials_cannot_have_one_resource_in_any_spelling() {
    let error = load("https://acme.dev", "https://acme.dev").unwrap_err();
    insta::assert_snapshot!(error, @r"
    error[duplicate]: resource `https://acme.dev` is defined twice
     --> root.yaml:3:124
      |
    3 |   two: { kind: postgres, target: shop-db, group: readers, max_ttl: 10m, owner: team, purpose: calls, class: low, resource: https://acme.dev }
      |                                                                                                                            ^^^^^^^^^^^^^^^^
      = help: the other definition is at root.yaml:2:118
    ");
    for other in [
        "https://acme.dev/",
        "HTTPS://ACME.dev",
        "https://acme.dev:443",
    ] {
        let error = load("https://acme.dev", other).unwrap_err();
        assert!(error.contains("is defined twice"), "{other}: {error}");
    }
    assert!(load("https://acme.dev/a", "https://acme.dev/b").is_ok());
}

#[test]
fn what_is_no_absolute_uri_is_no_resource() {
    let error = load("acme.dev/shop", "urn:example:shop").unwrap_err();
    insta::assert_snapshot!(error, @r"
    error[resource]: `resource` of credential `one` is `acme.dev/shop`, expected an absolute URI without a fragment
     --> root.yaml:2:118
      |
    2 |   one: { kind: jwt, audience: https://one.acme.dev, max_ttl: 10m, owner: team, purpose: calls, class: low, resource: acme.dev/shop }
      |                                                                                                                      ^^^^^^^^^^^^^
      = help: for example https://deploy.acme.dev
    ");
    for wrong in [
        "/shop",
        "https://acme.dev/#a",
        "\"https://acme.dev/a b\"",
        "\"\"",
        "[a]",
    ] {
        assert!(load(wrong, "urn:example:shop").is_err(), "{wrong}");
    }
    let long = format!("https://acme.dev/{}", "a".repeat(256));
    assert!(load(&long, "urn:example:shop").is_err());
}
