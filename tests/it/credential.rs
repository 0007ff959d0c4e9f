//! PostgreSQL logins against real servers of versions 15 and 18: how they are made and ended, and every
//! attack that worked on a version of the SQL (databases.md 0a, 0b).

#![cfg(test)]

mod attacks;
mod beyond;
mod connections;
mod hostile;
mod lifecycle;
mod operator;
mod pooler;
mod stage;

/// Runs a test on both versions, each with a server of its own.
macro_rules! on_both_versions {
    ($($(#[$doc:meta])* $name:ident($stage:ident) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                async fn attack($stage: &mut Stage) $body

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_15() {
                    attack(&mut Stage::start(Version::V15).await).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_18() {
                    attack(&mut Stage::start(Version::V18).await).await;
                }
            }
        )*
    };
}
use on_both_versions;
