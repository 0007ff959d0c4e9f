//! The strict JSON reader: `serde_json` knows the grammar, the limits and duplicate names are checked
//! here.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{JsonError, JsonProblem, Limits, Number, Object, Value};

/// Reads exactly one object and the white space around it.
pub(super) fn parse(text: &[u8], limits: &Limits) -> Result<Object, JsonError> {
    let error = |offset, problem| JsonError { offset, problem };
    if text.len() > limits.bytes {
        return Err(error(limits.bytes, JsonProblem::TooLong));
    }
    let text = std::str::from_utf8(text)
        .map_err(|problem| error(problem.valid_up_to(), JsonProblem::NotUtf8))?;
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if !trimmed.starts_with('{') {
        let offset = text.len().saturating_sub(trimmed.len());
        return Err(error(offset, JsonProblem::NotAnObject));
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(|problem| {
        let before = text.split_inclusive('\n').map(str::len);
        let before: usize = before.take(problem.line().saturating_sub(1)).sum();
        let offset = before.saturating_add(problem.column().saturating_sub(1));
        error(offset, JsonProblem::Malformed)
    })?;
    let mut reader = Reader {
        text,
        values: 0,
        limits: *limits,
    };
    reader.count_value(whole.get())?;
    reader.object(whole.get(), 1)
}

/// Reads pieces of a text that are well-formed JSON. Numbers and names are read from the text
/// itself, so nothing is rounded and no member overwrites another.
struct Reader<'a> {
    text: &'a str,
    values: usize,
    limits: Limits,
}

impl Reader<'_> {
    /// `depth` counts the objects and lists around the value: recursion ends at the limit.
    fn value(&mut self, raw: &str, depth: usize) -> Result<Value, JsonError> {
        self.count_value(raw)?;
        Ok(match raw.as_bytes().first() {
            Some(b'{') => Value::Object(self.object(raw, depth.saturating_add(1))?),
            Some(b'[') => Value::List(self.list(raw, depth.saturating_add(1))?),
            Some(b'"') => {
                let text = serde_json::from_str(raw);
                Value::Text(text.map_err(|_| self.error(raw, JsonProblem::LoneSurrogate))?)
            }
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'n') => Value::Null,
            Some(_) | None if raw.len() > self.limits.number => {
                return Err(self.error(raw, JsonProblem::NumberTooLong));
            }
            Some(_) | None => Value::Number(Number::new(raw)),
        })
    }

    fn object(&mut self, raw: &str, depth: usize) -> Result<Object, JsonError> {
        let mut members = Vec::new();
        self.each(raw, depth, |name, value| members.push((name, value)))?;
        if has_duplicate(&members) {
            let mut error = self.error(raw, JsonProblem::DuplicateName);
            error.offset = error.offset.saturating_add(raw.len());
            return Err(error);
        }
        Ok(Object(members))
    }

    /// The items are counted first: growing by doubling would allocate half as much again (T-01).
    fn list(&mut self, raw: &str, depth: usize) -> Result<Vec<Value>, JsonError> {
        let count = serde_json::from_str::<Vec<IgnoredAny>>(raw).map_or(0, |items| items.len());
        let left = self.limits.values.saturating_sub(self.values);
        let mut items = Vec::with_capacity(count.min(left));
        self.each(raw, depth, |_, value| items.push(value))?;
        Ok(items)
    }

    /// Reads the members of an object, or the items of a list without names.
    fn each(
        &mut self,
        raw: &str,
        depth: usize,
        mut take: impl FnMut(String, Value),
    ) -> Result<(), JsonError> {
        if depth > self.limits.depth {
            return Err(self.error(raw, JsonProblem::TooDeep));
        }
        let mut read = Ok(());
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let visited = deserializer.deserialize_any(Each(|name, item: &RawValue| {
            if read.is_ok() {
                read = self.value(item.get(), depth).map(|value| take(name, value));
            }
        }));
        // The text is well-formed, so only a name can fail.
        read.and(visited.map_err(|_| self.error(raw, JsonProblem::LoneSurrogate)))
    }

    fn count_value(&mut self, raw: &str) -> Result<(), JsonError> {
        self.values = self.values.saturating_add(1);
        if self.values > self.limits.values {
            return Err(self.error(raw, JsonProblem::TooManyValues));
        }
        Ok(())
    }

    /// An error at a piece of the text.
    fn error(&self, raw: &str, problem: JsonProblem) -> JsonError {
        let (start, begin) = (self.text.as_ptr().addr(), raw.as_ptr().addr());
        JsonError {
            offset: begin.saturating_sub(start),
            problem,
        }
    }
}

/// Hands over the members of an object with their names, or the items of a list.
struct Each<F>(F);

impl<'de, F: FnMut(String, &'de RawValue)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some((name, value)) = members.next_entry()? {
            self.0(name, value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(value) = items.next_element()? {
            self.0(String::new(), value);
        }
        Ok(())
    }
}

/// Sorts where comparing each with each would let a small token cost milliseconds (T-96).
fn has_duplicate(members: &[(String, Value)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
        .iter()
        .zip(names.iter().skip(1))
        .any(|(name, next)| name == next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &[u8]) -> Option<JsonProblem> {
        parse(text, &Limits::default())
            .err()
            .map(|error| error.problem)
    }

    /// Reads one value as the only member of an object.
    fn value(text: &str) -> Result<Value, JsonProblem> {
        let object = format!(r#"{{"v":{text}}}"#);
        match parse(object.as_bytes(), &Limits::default()) {
            Ok(object) => Ok(object.get("v").expect("the member").clone()),
            Err(error) => Err(error.problem),
        }
    }

    /// T-17
    #[test]
    fn what_rfc_8259_does_not_allow_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "[{}]",
            "null",
            "1",
            "\"x\"",
            "{",
            "}",
            "{}}",
            "{} x",
            "{},",
            "{}//",
            "{}/**/",
            "{a:1}",
            "{'a':1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,\"a\":1}",
            "{\"a\":1,,\"b\":2}",
            "{\"a\":1 \"b\":2}",
            "{\"a\"::1}",
            "{\"a\" \"b\":1}",
            "{null:1}",
            "{1:1}",
            "{\"a\":1",
            "{\"a\":/*x*/1}",
            "\u{feff}{}",
            "{}\u{c}",
            "\u{a0}{}",
            "{}\u{2060}",
            "{\"a\":\u{a0}1}",
            "{\"a\":1]",
            "{\"a\":[1}",
            "{}\0",
        ] {
            assert!(problem(text.as_bytes()).is_some(), "{text:?}");
        }
    }

    /// T-17
    #[test]
    fn values_rfc_8259_does_not_have_are_refused() {
        for text in [
            "[1,]",
            "[,1]",
            "[1,,2]",
            "[1 2]",
            "[",
            "]",
            "[1",
            "[}",
            "nan",
            "NaN",
            "Infinity",
            "-Infinity",
            "+1",
            "01",
            "-01",
            "1.",
            ".1",
            "-.1",
            "1e",
            "1e+",
            "1E-",
            "1.e1",
            "0x1",
            "1_000",
            "--1",
            "-",
            "1e1.5",
            "0e",
            "1 000",
            "\u{ff11}",
            "tru",
            "True",
            "truee",
            "nul",
            "false1",
            "'x'",
            "\"",
            "\"x",
            "\"\\\"",
            "\"\\x41\"",
            "\"\\a\"",
            "\"\\u12\"",
            "\"\\u00G0\"",
            "\"\\u+123\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\ud800\"",
            "\"\\ud800\\n\"",
            "\"\\ud800x\"",
            "\"\\udbff\\ue000\"",
            "\"\\U0041\"",
            "\"a\tb\"",
            "\"a\nb\"",
            "\"\0\"",
            "\"\u{1f}\"",
            "undefined",
            "@",
            "*",
            "\\u0031",
        ] {
            assert!(value(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_rfc_8259_allows_is_read() {
        for (text, expected) in [
            (r#""""#, ""),
            (r#""\u0060\u012a\u12AB""#, "\u{60}\u{12a}\u{12ab}"),
            (r#""\ud801\udc37""#, "\u{10437}"),
            (r#""\uDBFF\uDFFF""#, "\u{10ffff}"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0000""#, "\0"),
            (r#""\uFFFF""#, "\u{ffff}"),
            ("\"\u{7f}\u{2028}\u{1f600}\"", "\u{7f}\u{2028}\u{1f600}"),
            (r#""a/*b*/c""#, "a/*b*/c"),
        ] {
            assert_eq!(value(text), Ok(Value::Text(expected.to_owned())), "{text}");
        }
        for text in [
            "0",
            "-0",
            "123",
            "-1",
            "1.5",
            "1E22",
            "1e-2",
            "0e+1",
            "123.456e78",
            "20e1",
            "true",
            "false",
            "null",
            "[]",
            "[[]   ]",
            "[null, 1]",
            "{}",
            "{\"\":0}",
            "{\"a\":{\"b\":[{}]}}",
        ] {
            assert!(value(text).is_ok(), "{text}");
        }
        assert!(problem(b" \t\r\n{ \"a\" : 1 } \n").is_none());
    }

    /// T-17
    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        for bytes in [
            b"{\"a\":\"\xff\"}".as_slice(),
            b"{\"\xc0\xaf\":1}",
            b"{\"a\":\"\xed\xa0\x80\"}",
            b"\xff\xfe{\0}\0",
            b"{\"a\":\"\xf4\xbf\xbf\xbf\"}",
            b"{}\xe5",
        ] {
            assert_eq!(problem(bytes), Some(JsonProblem::NotUtf8));
        }
    }

    /// T-18
    #[test]
    fn a_member_that_stands_twice_is_refused_at_any_depth_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"alg":1,"\u0061lg":1}"#,
            r#"{"x":{"y":[{"a":1,"a":null}]}}"#,
            r#"{"":1,"":2}"#,
            r#"{"\ud83d\ude00":1,"😀":2}"#,
        ] {
            assert_eq!(
                problem(text.as_bytes()),
                Some(JsonProblem::DuplicateName),
                "{text}"
            );
        }
        assert!(problem(r#"{"a":{"a":1},"A":2,"a ":3}"#.as_bytes()).is_none());
    }

    /// T-16
    #[test]
    fn each_limit_holds_at_its_edge() {
        let nested = |depth: usize| {
            let lists = depth - 1;
            format!(r#"{{"a":{}{}}}"#, "[".repeat(lists), "]".repeat(lists))
        };
        assert_eq!(problem(nested(16).as_bytes()), None);
        assert_eq!(problem(nested(17).as_bytes()), Some(JsonProblem::TooDeep));
        assert_eq!(
            problem("[".repeat(100_000).as_bytes()),
            Some(JsonProblem::NotAnObject)
        );
        assert_eq!(
            problem(format!("{{\"a\":{}", "[".repeat(100_000)).as_bytes()),
            Some(JsonProblem::Malformed)
        );
        assert_eq!(
            problem(nested(100_000).as_bytes()),
            Some(JsonProblem::TooDeep)
        );

        let many = |count: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; count].join(","));
        assert_eq!(problem(many(4_094).as_bytes()), None);
        assert_eq!(
            problem(many(4_095).as_bytes()),
            Some(JsonProblem::TooManyValues)
        );

        let digits = |count: usize| format!(r#"{{"a":{}}}"#, "1".repeat(count));
        assert_eq!(problem(digits(64).as_bytes()), None);
        assert_eq!(
            problem(digits(65).as_bytes()),
            Some(JsonProblem::NumberTooLong)
        );

        let limits = Limits::for_bytes(7);
        assert!(parse(br#"{"a":1}"#, &limits).is_ok());
        assert_eq!(
            parse(br#"{"a":1} "#, &limits).map_err(|error| error.problem),
            Err(JsonProblem::TooLong)
        );
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// T-94
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, &Limits::default());
        }

        /// T-94
        #[test]
        fn no_json_like_text_makes_it_panic(text in r#"\{("|\\|u|d8|00|[0-9eE.+-]|[\[\]{}:, ]|true|é){0,60}"#) {
            let _ = parse(text.as_bytes(), &Limits::default());
        }

        /// T-17
        #[test]
        fn what_another_parser_wrote_is_read_the_same(value in json()) {
            let text = serde_json::json!({ "v": value }).to_string();
            let object = parse(text.as_bytes(), &Limits::default()).expect("what serde_json wrote");
            prop_assert_eq!(serde_json::Value::Object(object.to_json()), serde_json::json!({ "v": value }));
        }

        /// T-17
        #[test]
        fn no_other_strict_parser_disagrees(text in r#"\{"a": ?(\[|\{"b":|"|\\u?|d83d|[0-9eE.+-]{1,3}|true|null|\]|\}|,|:| |x|é){0,14}\}"#) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match parse(text.as_bytes(), &Limits::default()) {
                Ok(object) => {
                    // The one difference: it has no place for numbers beyond f64.
                    let out_of_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
                    prop_assert!(theirs.is_ok() || out_of_range, "{:?}", object);
                }
                Err(error) => prop_assert!(theirs.is_err() || error.problem == JsonProblem::DuplicateName, "{}", error),
            }
        }

        /// T-18
        #[test]
        fn there_are_as_many_members_as_in_the_text(names in prop::collection::vec("[a-c]{0,2}", 0..8)) {
            let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":0")).collect();
            let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
            match parse(format!("{{{}}}", members.join(",")).as_bytes(), &Limits::default()) {
                Ok(object) => prop_assert_eq!(object.iter().count(), names.len()),
                Err(error) => {
                    prop_assert_eq!(error.problem, JsonProblem::DuplicateName);
                    prop_assert!(distinct.len() < names.len());
                }
            }
        }
    }
}
