//! The values of a claim that its issuer's reader accepts.

use super::lang::Lang;
use super::points::Points;
use super::space::Form;
use super::value::ValueSet;
use crate::provider::{ClaimType, Fact, Reader, Source};
use crate::token::json::list_index;

/// The values that the reader accepts, and how they are sent.
pub(super) fn domain(reader: &Reader, points: &Points, pointer: &str) -> (ValueSet, Form) {
    if reader.provider.is_of_people()
        && matches!(reader.source(Fact::SignedIn), Source::Claim(own) if own == pointer)
    {
        return (points.ages.domain(), Form::Age);
    }
    if let Some((list, index)) = pointer.rsplit_once('/')
        && reader.claim_types(list).contains(&ClaimType::List)
    {
        return (at_index(reader, list, index), Form::Plain);
    }
    if pointer == "/iss" {
        return (raw(reader, pointer), Form::Plain);
    }
    let types = reader.claim_types(pointer);
    let Some((first, others)) = types.split_first() else {
        return (raw(reader, pointer), Form::Plain);
    };
    // Facts of one claim may have several types, and all of them are demanded. No number is text.
    let others = others.iter().filter(|other| *other != first);
    let is_number = |claim_type: &ClaimType| *claim_type == ClaimType::Number;
    let domain = others.fold(of_type(reader, pointer, *first), |domain, other| {
        if is_number(first) || is_number(other) {
            return ValueSet::optional(Lang::none());
        }
        domain.and(of_type(reader, pointer, *other))
    });
    let form = if types.contains(&ClaimType::List) {
        Form::List
    } else if types.contains(&ClaimType::Number) {
        Form::Number
    } else {
        Form::Plain
    };
    (domain, form)
}

fn of_type(reader: &Reader, pointer: &str, claim_type: ClaimType) -> ValueSet {
    let other = ValueSet {
        other: true,
        ..ValueSet::optional(Lang::none())
    };
    match claim_type {
        ClaimType::Text => ValueSet::optional(Lang::All),
        ClaimType::FreeText => ValueSet {
            foreign: true,
            ..ValueSet::optional(Lang::All)
        },
        ClaimType::FlagText => {
            let words = ["true", "false"].map(str::to_owned);
            ValueSet::optional(Lang::words(words))
        }
        ClaimType::Boolean => ValueSet {
            yes: true,
            no: true,
            ..ValueSet::optional(Lang::none())
        },
        ClaimType::Number => ValueSet::optional(Lang::Decimal),
        ClaimType::List if !reader.provider.is_json_list(pointer) => ValueSet {
            foreign: true,
            text: Lang::All,
            ..other
        },
        ClaimType::List | ClaimType::Object => other,
    }
}

/// What a list has at an index. An entry that is an empty text is absent there.
fn at_index(reader: &Reader, list: &str, index: &str) -> ValueSet {
    let is_free = reader.provider.is_json_list(list);
    if list_index(index).is_none() {
        ValueSet::optional(Lang::none())
    } else if is_free {
        ValueSet::all()
    } else {
        ValueSet {
            foreign: true,
            ..ValueSet::optional(Lang::All)
        }
    }
}

/// The values of a claim that no reader has a type for. Some are the same in every token.
fn raw(reader: &Reader, pointer: &str) -> ValueSet {
    let other = ValueSet {
        other: true,
        ..ValueSet::none()
    };
    match pointer {
        "/iss" => ValueSet::texts(Lang::word(&reader.issuer.url)),
        "/exp" => other,
        "/iat" => ValueSet {
            absent: true,
            ..other
        },
        "/sub" => ValueSet {
            foreign: true,
            ..ValueSet::texts(Lang::All)
        },
        "/aud" => ValueSet {
            foreign: true,
            other: true,
            ..ValueSet::texts(Lang::All)
        },
        _ => ValueSet::all(),
    }
}
