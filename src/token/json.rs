//! Strict JSON (stand-in until the reader of foreign JSON is merged).

/// An object.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Object(Vec<(String, Value)>);
/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// literal
    Number(Number),
    /// text
    Text(String),
    /// list
    List(Vec<Value>),
    /// object
    Object(Object),
}
/// A number as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);
impl Number {
    /// The literal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl Object {
    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, v)| v)
    }
    /// By JSON pointer.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        let mut steps = pointer.strip_prefix('/')?.split('/');
        let unescape = |step: &str| step.replace("~1", "/").replace("~0", "~");
        let mut value = self.get(&unescape(steps.next()?))?;
        for step in steps {
            value = match value {
                Value::Object(object) => object.get(&unescape(step))?,
                Value::List(list) => list.get(step.parse::<usize>().ok()?)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => return None,
            };
        }
        Some(value)
    }
}
/// Bounds.
#[derive(Clone, Debug, Default)]
pub struct Limits;
/// Error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);
/// Parses.
/// # Errors
/// Not one object.
pub fn parse_object(bytes: &[u8], _limits: &Limits) -> Result<Object, JsonError> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| JsonError(error.to_string()))?;
    match convert(value) {
        Value::Object(object) => Ok(object),
        _ => Err(JsonError("not an object".to_owned())),
    }
}
fn convert(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(value) => Value::Number(Number(value.to_string())),
        serde_json::Value::String(value) => Value::Text(value),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(convert).collect()),
        serde_json::Value::Object(map) => Value::Object(Object(
            map.into_iter()
                .map(|(key, value)| (key, convert(value)))
                .collect(),
        )),
    }
}
