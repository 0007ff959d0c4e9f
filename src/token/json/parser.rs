//! The strict JSON parser: bytes to values, within limits.

use super::{JsonError, Limits, Number, Object, Problem, Value};

/// Reads exactly one object and the white space around it.
pub(super) fn parse(text: &[u8], limits: &Limits) -> Result<Object, JsonError> {
    if text.len() > limits.bytes {
        return Err(JsonError {
            offset: limits.bytes,
            problem: Problem::TooLong,
        });
    }
    let text = std::str::from_utf8(text).map_err(|error| JsonError {
        offset: error.valid_up_to(),
        problem: Problem::NotUtf8,
    })?;
    let mut parser = Parser {
        text,
        at: 0,
        values: 0,
        limits: *limits,
    };
    parser.skip_white_space();
    if parser.peek() != Some(b'{') {
        return Err(parser.error(Problem::NotAnObject));
    }
    let object = parser.object(1)?;
    parser.skip_white_space();
    match parser.peek() {
        None => Ok(object),
        Some(_) => Err(parser.error(Problem::TextAfterEnd)),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Always at a character's first byte.
    at: usize,
    values: usize,
    limits: Limits,
}

impl Parser<'_> {
    /// `depth` counts the objects and lists around the value: recursion ends at the limit.
    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth.saturating_add(1)).map(Value::Object),
            Some(b'[') => self.list(depth.saturating_add(1)).map(Value::List),
            Some(b'"') => {
                self.count_value()?;
                self.string().map(Value::Text)
            }
            Some(b'-' | b'0'..=b'9') => {
                self.count_value()?;
                self.number().map(Value::Number)
            }
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) | None => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object, JsonError> {
        self.open(depth)?;
        let mut members = Vec::new();
        if self.closes(b'}') {
            return Ok(Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            self.skip_white_space();
            self.expect(b':')?;
            self.skip_white_space();
            members.push((name, self.value(depth)?));
            if self.ends_item(b'}')? {
                break;
            }
        }
        if has_duplicate(&members) {
            return Err(self.error(Problem::DuplicateName));
        }
        Ok(Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, JsonError> {
        self.open(depth)?;
        if self.closes(b']') {
            return Ok(Vec::new());
        }
        let mut items = Vec::with_capacity(self.scalars_ahead());
        loop {
            items.push(self.value(depth)?);
            if self.ends_item(b']')? {
                return Ok(items);
            }
        }
    }

    /// How many items a list of numbers and words has, as far as the limit allows: room that grows by
    /// doubling would take half as much again (T-01).
    fn scalars_ahead(&self) -> usize {
        let ends = |byte: &u8| matches!(byte, b'[' | b'{' | b'"' | b']' | b'}');
        let scalars = self.rest().bytes().take_while(|byte| !ends(byte));
        let commas = scalars.filter(|byte| *byte == b',').count();
        let left = self.limits.values.saturating_sub(self.values);
        commas.saturating_add(1).min(left)
    }

    /// Takes the opening bracket, which counts as a value and a level.
    fn open(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth > self.limits.depth {
            return Err(self.error(Problem::TooDeep));
        }
        self.count_value()?;
        self.advance(1);
        self.skip_white_space();
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        if closes {
            self.advance(1);
        }
        closes
    }

    /// After an item: the closing bracket ends it all, a comma must be followed by another item.
    fn ends_item(&mut self, bracket: u8) -> Result<bool, JsonError> {
        self.skip_white_space();
        if self.closes(bracket) {
            return Ok(true);
        }
        self.expect(b',')?;
        self.skip_white_space();
        Ok(false)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        self.count_value()?;
        if !self.rest().starts_with(word) {
            return Err(self.error(Problem::Unexpected));
        }
        self.advance(word.len());
        Ok(value)
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.advance(1);
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
                .unwrap_or(rest.len());
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.advance(plain);
            match self.peek() {
                Some(b'"') => {
                    self.advance(1);
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.error(Problem::ControlCharacter)),
                None => return Err(self.error(Problem::Unfinished)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.advance(1);
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return Err(self.error(Problem::Escape)),
            None => return Err(self.error(Problem::Unfinished)),
        };
        self.advance(1);
        Ok(character)
    }

    /// `\uXXXX`, or two of them where the first is a high surrogate (RFC 8259 section 7).
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        self.advance(1);
        let start = self.at;
        let first = self.four_hex_digits()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| lone_surrogate(start));
        }
        if !self.rest().starts_with("\\u") {
            return Err(lone_surrogate(start));
        }
        self.advance(2);
        let second = self.four_hex_digits()?;
        let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400);
        let high = first.saturating_sub(0xD800) << 10;
        low.map(|low| 0x1_0000_u32.saturating_add(high | low))
            .and_then(char::from_u32)
            .ok_or_else(|| lone_surrogate(start))
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonError> {
        let mut code: u32 = 0;
        for _ in 0..4 {
            let digit = match self.peek() {
                Some(byte) => char::from(byte).to_digit(16),
                None => return Err(self.error(Problem::Unfinished)),
            };
            let Some(digit) = digit else {
                return Err(self.error(Problem::Escape));
            };
            code = (code << 4) | digit;
            self.advance(1);
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Number, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.advance(1);
        }
        if self.peek() == Some(b'0') {
            self.advance(1);
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.advance(1);
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.advance(1);
            if let Some(b'+' | b'-') = self.peek() {
                self.advance(1);
            }
            self.digits()?;
        }
        let literal = self.text.get(start..self.at).unwrap_or_default();
        if literal.len() > self.limits.number {
            return Err(JsonError {
                offset: start,
                problem: Problem::NumberTooLong,
            });
        }
        Ok(Number::new(literal))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(self.error(Problem::Number));
        }
        self.advance(count);
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.advance(1);
        Ok(())
    }

    fn count_value(&mut self) -> Result<(), JsonError> {
        self.values = self.values.saturating_add(1);
        if self.values > self.limits.values {
            return Err(self.error(Problem::TooManyValues));
        }
        Ok(())
    }

    fn skip_white_space(&mut self) {
        let count = self
            .rest()
            .bytes()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.advance(count);
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn unexpected(&self) -> JsonError {
        self.error(match self.peek() {
            Some(_) => Problem::Unexpected,
            None => Problem::Unfinished,
        })
    }

    fn error(&self, problem: Problem) -> JsonError {
        JsonError {
            offset: self.at,
            problem,
        }
    }
}

fn lone_surrogate(offset: usize) -> JsonError {
    JsonError {
        offset,
        problem: Problem::LoneSurrogate,
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

    fn problem(text: &[u8]) -> Option<Problem> {
        parse(text, &Limits::default())
            .err()
            .map(|error| error.problem)
    }

    /// Reads one value as the only member of an object.
    fn value(text: &str) -> Result<Value, Problem> {
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
            assert_eq!(problem(bytes), Some(Problem::NotUtf8));
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
                Some(Problem::DuplicateName),
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
        assert_eq!(problem(nested(17).as_bytes()), Some(Problem::TooDeep));
        assert_eq!(
            problem("[".repeat(100_000).as_bytes()),
            Some(Problem::NotAnObject)
        );
        assert_eq!(
            problem(format!("{{\"a\":{}", "[".repeat(100_000)).as_bytes()),
            Some(Problem::TooDeep)
        );

        let many = |count: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; count].join(","));
        assert_eq!(problem(many(4_094).as_bytes()), None);
        assert_eq!(
            problem(many(4_095).as_bytes()),
            Some(Problem::TooManyValues)
        );

        let digits = |count: usize| format!(r#"{{"a":{}}}"#, "1".repeat(count));
        assert_eq!(problem(digits(64).as_bytes()), None);
        assert_eq!(problem(digits(65).as_bytes()), Some(Problem::NumberTooLong));

        let limits = Limits::for_bytes(7);
        assert!(parse(br#"{"a":1}"#, &limits).is_ok());
        assert_eq!(
            parse(br#"{"a":1} "#, &limits).map_err(|error| error.problem),
            Err(Problem::TooLong)
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
                Err(error) => prop_assert!(theirs.is_err() || error.problem == Problem::DuplicateName, "{}", error),
            }
        }

        /// T-18
        #[test]
        fn there_are_as_many_members_as_in_the_text(names in prop::collection::vec("[a-c]{0,2}", 0..8)) {
            let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":0")).collect();
            let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
            match parse(format!("{{{}}}", members.join(",")).as_bytes(), &Limits::default()) {
                Ok(object) => prop_assert_eq!(object.len(), names.len()),
                Err(error) => {
                    prop_assert_eq!(error.problem, Problem::DuplicateName);
                    prop_assert!(distinct.len() < names.len());
                }
            }
        }
    }
}
