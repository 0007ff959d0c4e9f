//! What do other implementations say of the tokens that hallpass accepts and refuses?
//!
//! The same tokens go to our verifier and to three others, which share neither code nor, but for
//! one, the cryptographic library with it. Where all agree, fine. Where they do not, `table.rs` has
//! a row that says who accepts, who refuses and why ours is right. A disagreement without a row
//! fails, and so does a row that no longer happens.

mod agreement;
mod case;
mod generated;
mod hallpass;
mod josekit;
mod json;
mod jsonwebtoken;
mod leaks;
mod openidconnect;
mod random;
mod table;
#[expect(
    dead_code,
    reason = "shared with the tests of hallpass, which use all of it"
)]
#[path = "../../it/support/tokens.rs"]
mod tokens;
#[path = "../../it/support/vectors.rs"]
mod vector;
mod vectors;
