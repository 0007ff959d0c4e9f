//! compile
/// The set.
#[derive(Debug)]
pub struct PolicySet;
