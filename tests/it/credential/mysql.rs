//! MySQL and MariaDB logins against a real server: how they are made and ended, what jobs and thieves try, and what
//! is left when a broker dies.

mod attacks;
mod checkout;
mod clients;
mod faults;
mod install;
mod lifecycle;
mod outage;
mod rotation;
mod stage;
mod tls;
