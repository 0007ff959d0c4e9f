//! What `hallpass --version` prints: what the binary was built from, as `build.rs` found it.

/// The long form; `-V` prints the version alone.
pub(super) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("HALLPASS_BUILD_COMMIT"),
    "\nbuild date: ",
    env!("HALLPASS_BUILD_DATE"),
    "\nfeatures: ",
    env!("HALLPASS_BUILD_FEATURES"),
    "\nTLS: ",
    env!("HALLPASS_BUILD_TLS"),
    "\ntarget: ",
    env!("HALLPASS_BUILD_TARGET"),
);

/// The build date, or `unknown`.
pub(super) const DATE: &str = env!("HALLPASS_BUILD_DATE");
