//! Users of Redis and Valkey on real servers: how they are made and ended, and what hostile jobs try
//! (T-420 to T-429).

mod breaker;
mod clients;
mod hostile;
mod killed;
mod lifecycle;
mod nodes;
mod operator;
mod rotation;
mod stage;
mod sweep;

/// Runs a test on Redis 7 and on Valkey 8, each with a server of its own.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident($stage:ident) $body:block)*) => {
        $(
            mod $name {
                use super::*;
                use super::super::stage::Flavour;

                async fn test($stage: &mut Stage) $body

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_redis() {
                    test(&mut Stage::start(Flavour::Redis)).await;
                }

                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_valkey() {
                    test(&mut Stage::start(Flavour::Valkey)).await;
                }
            }
        )*
    };
}
use on_both;
