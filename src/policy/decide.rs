//! decide
/// The decision.
#[derive(Debug)]
pub struct Decision;
/// A denial.
#[derive(Debug)]
pub struct Denial;
