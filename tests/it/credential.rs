//! PostgreSQL logins against real servers of versions 15 and 18: how they are made and ended, and every
//! attack that worked on a version of the SQL (T-101 to T-131).

#![cfg(test)]

mod attacks;
mod beyond;
mod certificate;
mod connections;
mod faults;
mod hostile;
mod installing;
mod lasting;
mod lifecycle;
mod mysql;
mod operator;
mod pooler;
mod prepared;
mod redis;
mod rotation;
mod stage;
mod upgrade;
mod webhook;

/// Runs a test on both versions, each with a server of its own, and with an installation by an administrator
/// without superuser. What takes long and finds little is run by `make test-long`.
macro_rules! on_both_versions {
    (@ $managed_15:meta; $($(#[$doc:meta])* $name:ident($stage:ident) $body:block)*) => {
        $(
            mod $name {
                use super::*;
                use super::super::prepared::Installer;

                async fn attack($stage: &mut Stage) $body

                async fn run(installer: Installer, version: Version) {
                    attack(&mut Stage::installed_by(installer, version, &[]).await).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_15() {
                    run(Installer::Superuser, Version::V15).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_18() {
                    run(Installer::Superuser, Version::V18).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[$managed_15]
                async fn managed_15() {
                    run(Installer::Rds, Version::V15).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn managed_18() {
                    run(Installer::Rds, Version::V18).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "takes long; make test-long"]
                async fn cloud_sql_18() {
                    run(Installer::CloudSql, Version::V18).await;
                }
            }
        )*
    };
    (managed on 15 too: $($tests:tt)*) => {
        on_both_versions! { @ allow(clippy::allow_attributes); $($tests)* }
    };
    ($($tests:tt)*) => {
        on_both_versions! { @ ignore = "takes long; make test-long"; $($tests)* }
    };
}
use on_both_versions;
