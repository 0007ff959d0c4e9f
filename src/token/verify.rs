//! verify
/// Verifier.
#[derive(Debug)]
pub struct Verifier;
/// Error.
#[derive(Debug, thiserror::Error)]
#[error("verify")]
pub struct VerifyError;
use super::{Algorithm, KeySet};
/// The seam.
/// # Errors
/// All.
pub fn verify_jws(
    _text: &str,
    _keys: &KeySet,
    _algorithms: &[Algorithm],
) -> Result<Vec<u8>, VerifyError> {
    Err(VerifyError)
}
