//! Strict JSON back to text: numbers as they were written, so that reading it again is no other value.

use hallpass::token::json::{Object, Value};

pub(crate) fn of_object(object: &Object) -> String {
    let members: Vec<String> = object
        .iter()
        .map(|(name, value)| format!("{}:{}", of_text(name), of_value(value)))
        .collect();
    format!("{{{}}}", members.join(","))
}

pub(crate) fn of_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.literal().to_owned(),
        Value::Text(text) => of_text(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(of_value).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(object) => of_object(object),
    }
}

fn of_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
