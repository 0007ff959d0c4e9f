//! A text that two claims make, with `/` between them, as constraints on both.
//!
//! A set of such texts is a union of products: the texts that one claim can have, and those that the other
//! can have beside them. A text with several `/` can be made in several ways.

use std::sync::Arc;

use super::constraints::{Clause, Constraints, within};
use super::lang::{GlobText, Lang};
use super::value::ValueSet;
use crate::policy::pattern::Glob;

/// The text of the claims `top` and `name` is in the set. `None` if it takes more than [`MOST_PRODUCTS`]
/// products.
pub(super) fn read((top, name): (usize, usize), set: &ValueSet) -> Option<Constraints> {
    let makes = products(&set.text)?;
    let fails = others(&makes)?;
    let clause = |products: Vec<Product>, is_absent: bool| {
        let mut clause: Clause = products
            .into_iter()
            .map(|(tops, names)| {
                vec![
                    within(top, ValueSet::texts(tops)),
                    within(name, ValueSet::texts(names)),
                ]
            })
            .collect();
        if is_absent {
            let absent = ValueSet::texts(Lang::All).inverted();
            clause.extend([top, name].map(|claim| vec![within(claim, absent.clone())]));
        }
        clause
    };
    Some(Constraints {
        holds: clause(makes, set.absent),
        fails: clause(fails, !set.absent),
    })
}

/// Texts in front of a `/`, and texts behind it.
type Product = (Lang, Lang);

/// The products whose joined texts are those of the set that have a `/`.
fn products(set: &Lang) -> Option<Vec<Product>> {
    let found = match set {
        Lang::All => vec![(Lang::All, Lang::All)],
        Lang::Words(words) => of_words(words)?,
        Lang::Glob(glob) => of_glob(glob.0.text())?,
        Lang::Under(top) => of_path(top),
        Lang::Not(inner) => others(&products(inner)?)?,
        Lang::Or(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(|part| products(part)).collect();
            parts?.into_iter().flatten().collect()
        }
        Lang::And(parts) => {
            let mut all = vec![(Lang::All, Lang::All)];
            for part in parts {
                all = both(&all, &products(part)?)?;
            }
            all
        }
        Lang::Decimal
        | Lang::Path(_)
        | Lang::Ref { .. }
        | Lang::File(..)
        | Lang::Listed(_)
        | Lang::After(..)
        | Lang::Starting(_)
        | Lang::Part(..) => return None,
    };
    (found.len() <= MOST_PRODUCTS).then_some(found)
}

fn of_words(words: &[String]) -> Option<Vec<Product>> {
    let mut tops: Vec<(&str, Vec<String>)> = Vec::new();
    for word in words {
        for (at, _) in word.match_indices('/') {
            let (Some(top), Some(name)) = (word.get(..at), word.get(at.saturating_add(1)..)) else {
                continue;
            };
            match tops.iter_mut().find(|(known, _)| *known == top) {
                Some((_, names)) => names.push(name.to_owned()),
                None => tops.push((top, vec![name.to_owned()])),
            }
            if tops.len() > MOST_PRODUCTS {
                return None;
            }
        }
    }
    let tops = tops.into_iter();
    let products = tops.map(|(top, names)| (Lang::word(top), Lang::words(names)));
    Some(products.collect())
}

/// The `/` is one of the glob, or within a `**`.
fn of_glob(text: &str) -> Option<Vec<Product>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let next = at.saturating_add(1);
        let is_anything = *byte == b'*' && bytes.get(next) == Some(&b'*');
        if is_anything {
            let after = next.saturating_add(1);
            found.push((glob(text.get(..after)?)?, glob(text.get(at..)?)?));
            at = after;
            continue;
        }
        // An empty text is no value of a claim.
        if *byte == b'/' && at > 0 && next < bytes.len() {
            found.push((glob(text.get(..at)?)?, glob(text.get(next..)?)?));
        }
        at = next;
    }
    Some(found)
}

fn glob(text: &str) -> Option<Lang> {
    if text == "**" {
        return Some(Lang::All);
    }
    if !text.contains('*') {
        return Some(Lang::word(text));
    }
    let glob = Glob::parse(text).ok()?;
    Some(Lang::Glob(Arc::new(GlobText(glob))))
}

/// The path itself, or what is below it.
fn of_path(path: &str) -> Vec<Product> {
    let mut found = vec![(Lang::Under(path.into()), Lang::All)];
    for (at, _) in path.match_indices('/') {
        let (Some(top), Some(rest)) = (path.get(..at), path.get(at.saturating_add(1)..)) else {
            continue;
        };
        found.push((Lang::word(top), Lang::Under(rest.into())));
    }
    found
}

fn both(one: &[Product], other: &[Product]) -> Option<Vec<Product>> {
    let mut found = Vec::new();
    for (tops, names) in one {
        for (more_tops, more_names) in other {
            let tops = tops.clone().and(more_tops.clone());
            found.push((tops, names.clone().and(more_names.clone())));
        }
    }
    (found.len() <= MOST_PRODUCTS).then_some(found)
}

/// The products of all other texts.
fn others(products: &[Product]) -> Option<Vec<Product>> {
    let mut left = vec![(Lang::All, Lang::All)];
    for (tops, names) in products {
        let mut next = Vec::new();
        for (top, name) in left {
            next.push((top.clone().and(tops.clone().inverted()), name.clone()));
            // If each of `products` has one text as its top, this one is empty for all but one of `left`.
            if names != &Lang::All {
                next.push((top.and(tops.clone()), name.and(names.clone().inverted())));
            }
        }
        next.retain(|(top, name)| !is_empty(top) && !is_empty(name));
        left = next;
        if left.len() > MOST_PRODUCTS {
            return None;
        }
    }
    Some(left)
}

/// Plainly no text is in the set.
fn is_empty(set: &Lang) -> bool {
    set.finite().is_some_and(|texts| texts.is_empty())
}

/// Beyond it, the proof is too long.
const MOST_PRODUCTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn globbed(text: &str) -> Lang {
        Lang::Glob(Arc::new(GlobText(Glob::parse(text).unwrap())))
    }

    /// T-331
    #[test]
    fn a_text_of_two_claims_is_in_a_set_exactly_if_some_product_has_both() {
        let sets = [
            Lang::All,
            Lang::none(),
            Lang::word("acme/shop"),
            Lang::words(["acme/shop", "acme/x/y", "b/c", "acme"].map(str::to_owned)),
            globbed("acme/*"),
            globbed("acme/**"),
            globbed("*/shop"),
            globbed("**"),
            globbed("a**p"),
            globbed("acme/*/y"),
            globbed("*"),
            Lang::Under("acme".into()),
            Lang::Under("acme/x".into()),
            Lang::Under("acme/x/y".into()),
        ];
        let texts = [
            "acme", "acme/x", "a", "b", "shop", "x", "x/y", "y", "c", "acm", "p",
        ];
        let mut all: Vec<Lang> = sets.to_vec();
        all.extend(sets.iter().map(|set| set.clone().inverted()));
        for one in &sets {
            all.extend(sets.iter().map(|other| one.clone().or(other.clone())));
            let without = |other: &Lang| one.clone().and(other.clone().inverted());
            all.extend(sets.iter().map(without));
        }
        let has = |products: &[Product], top: &str, name: &str| {
            let mut products = products.iter();
            products.any(|(tops, names)| tops.has(top) && names.has(name))
        };
        let mut known = 0;
        for set in &all {
            let Some(makes) = products(set) else { continue };
            let fails = others(&makes).unwrap();
            known += 1;
            for top in texts {
                for name in texts {
                    let expected = set.has(&format!("{top}/{name}"));
                    assert_eq!(has(&makes, top, name), expected, "{set:?}: {top} {name}");
                    assert_eq!(has(&fails, top, name), !expected, "{set:?}: {top} {name}");
                }
            }
        }
        assert_eq!(known, all.len());
    }

    #[test]
    fn many_words_of_one_owner_are_few_products() {
        let words = (0..500).map(|number| format!("acme/shop-{number}"));
        let makes = products(&Lang::words(words)).unwrap();
        assert_eq!((makes.len(), others(&makes).unwrap().len()), (1, 2));
        let words = (0..60).map(|number| format!("owner-{number}/shop"));
        let makes = products(&Lang::words(words)).unwrap();
        assert!(others(&makes).unwrap().len() <= 61);
    }

    /// T-331: a list of many owners is given up at once, not compared with itself.
    #[test]
    fn many_owners_are_too_many_products() {
        let words = |most: u32| Lang::words((0..most).map(|number| format!("owner-{number}/shop")));
        assert!(products(&words(64)).is_some());
        assert!(products(&words(65)).is_none());
        assert!(products(&words(400_000)).is_none());
    }
}
