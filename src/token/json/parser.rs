//! The strict JSON reader: RFC 8259's grammar in one pass, within the limits.

use super::{JsonError, JsonProblem, Limits, Number, Object, Value};

/// Reads exactly one object and the white space around it.
pub(super) fn parse(text: &[u8], limits: &Limits) -> Result<Object, JsonError> {
    let error = |offset, problem| JsonError { offset, problem };
    if text.len() > limits.bytes {
        return Err(error(limits.bytes, JsonProblem::TooLong));
    }
    let text = std::str::from_utf8(text)
        .map_err(|problem| error(problem.valid_up_to(), JsonProblem::NotUtf8))?;
    let mut reader = Reader {
        text,
        at: 0,
        values: 0,
        reserved: 0,
        limits,
    };
    reader.skip_space();
    if reader.peek() != Some(b'{') {
        return Err(reader.error(JsonProblem::NotAnObject));
    }
    reader.count_value()?;
    let object = reader.object(1)?;
    reader.skip_space();
    if reader.peek().is_some() {
        return Err(reader.error(JsonProblem::Malformed));
    }
    Ok(object)
}

/// A position in a text. Every method begins at the first byte of what it reads, and ends behind it.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    /// Items of lists that memory is reserved for. The text behind them is not read yet, so each list
    /// reserves of what the others left (T-01).
    reserved: usize,
    limits: &'a Limits,
}

impl<'a> Reader<'a> {
    /// `depth` counts the objects and lists around the value: recursion ends at the limit.
    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.count_value()?;
        let inner = depth.saturating_add(1);
        match self.peek() {
            Some(b'{') => self.object(inner).map(Value::Object),
            Some(b'[') => self.list(inner).map(Value::List),
            Some(b'"') => self.string().map(Value::Text),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) | None => self.number().map(Value::Number),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object, JsonError> {
        self.enter(depth)?;
        let mut members = Vec::new();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                let name = self.string()?;
                self.skip_space();
                self.expect(b':')?;
                self.skip_space();
                members.push((name, self.value(depth)?));
                self.skip_space();
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        if has_duplicate(&members) {
            return Err(self.error(JsonProblem::DuplicateName));
        }
        Ok(Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, JsonError> {
        self.enter(depth)?;
        if self.take(b']') {
            return Ok(Vec::new());
        }
        let left = self.limits.values.saturating_sub(self.reserved);
        let reserved = self.items_ahead().min(left);
        self.reserved = self.reserved.saturating_add(reserved);
        let mut items = Vec::with_capacity(reserved);
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if !self.take(b',') {
                break;
            }
        }
        self.expect(b']')?;
        Ok(items)
    }

    /// How many items the list has, if it is well-formed. Growing by doubling would allocate half as
    /// much again (T-01).
    fn items_ahead(&self) -> usize {
        let (mut items, mut depth, mut in_text) = (1_usize, 0_usize, false);
        let mut bytes = self.rest().bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' if in_text => {
                    let _escaped = bytes.next();
                }
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b',' if depth == 0 => items = items.saturating_add(1),
                b'[' | b'{' => depth = depth.saturating_add(1),
                b']' | b'}' if depth == 0 => break,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        items
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        self.expect(b'"')?;
        let plain = self.plain_text();
        if self.take(b'"') {
            return Ok(plain.to_owned());
        }
        let mut text = plain.to_owned();
        while self.take(b'\\') {
            let character = match self.peek() {
                Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(b'n') => '\n',
                Some(b'r') => '\r',
                Some(b't') => '\t',
                Some(b'u') => {
                    let character = self.unicode_escape()?;
                    text.push(character.ok_or(JsonError {
                        offset: start,
                        problem: JsonProblem::LoneSurrogate,
                    })?);
                    text.push_str(self.plain_text());
                    continue;
                }
                Some(_) | None => return Err(self.error(JsonProblem::Malformed)),
            };
            self.step(1);
            text.push(character);
            text.push_str(self.plain_text());
        }
        self.expect(b'"')?;
        Ok(text)
    }

    /// The text up to the next quote, escape or control character.
    fn plain_text(&mut self) -> &'a str {
        let rest = self.rest();
        let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let length = rest.as_bytes().iter().take_while(|byte| is_plain(byte));
        let plain = rest.get(..length.count()).unwrap_or_default();
        self.step(plain.len());
        plain
    }

    /// What stands behind `\`: one unit of UTF-16, or two. `None`: half a pair.
    fn unicode_escape(&mut self) -> Result<Option<char>, JsonError> {
        let first = self.unit()?;
        if !matches!(first, 0xd800..=0xdbff) || !self.rest().starts_with("\\u") {
            return Ok(char::from_u32(u32::from(first)));
        }
        self.step(1);
        let pair = [first, self.unit()?];
        Ok(char::decode_utf16(pair).next().and_then(Result::ok))
    }

    /// `u` and four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, JsonError> {
        let digits = self.rest().get(1..5);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error(JsonProblem::Malformed))?;
        self.step(5);
        Ok(unit)
    }

    /// The text of a number: nothing is rounded.
    fn number(&mut self) -> Result<Number, JsonError> {
        let (start, rest) = (self.at, self.rest());
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _has_sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let length = self.at.saturating_sub(start);
        if length > self.limits.number {
            return Err(JsonError {
                offset: start,
                problem: JsonProblem::NumberTooLong,
            });
        }
        Ok(Number::new(rest.get(..length).unwrap_or_default()))
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), JsonError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.step(digits);
        if digits == 0 {
            return Err(self.error(JsonProblem::Malformed));
        }
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.error(JsonProblem::Malformed));
        }
        self.step(word.len());
        Ok(value)
    }

    /// Steps into an object or a list.
    fn enter(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth > self.limits.depth {
            return Err(self.error(JsonProblem::TooDeep));
        }
        self.step(1);
        self.skip_space();
        Ok(())
    }

    fn count_value(&mut self) -> Result<(), JsonError> {
        self.values = self.values.saturating_add(1);
        if self.values > self.limits.values {
            return Err(self.error(JsonProblem::TooManyValues));
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn step(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        if is_there {
            self.step(1);
        }
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(JsonProblem::Malformed))
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step(1);
        }
    }

    const fn error(&self, problem: JsonProblem) -> JsonError {
        JsonError {
            offset: self.at,
            problem,
        }
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
            Some(JsonProblem::TooDeep)
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
