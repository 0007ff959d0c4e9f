//! json
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
impl Object {
    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, v)| v)
    }
}
