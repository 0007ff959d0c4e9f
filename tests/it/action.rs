//! Where jobs meet hallpass: the GitHub Action, run as the runner does it, the component for GitLab, and
//! the scripts for other CIs.
#![cfg(test)]

mod gitlab;
mod granted;
mod hostile;
mod proxy;
mod refused;
mod review;
mod runner;
mod scripts;
mod sealed;
