//! Targets by contract: the example of the other side as it is shipped, and other sides that are broken or
//! hostile (T-452 to T-464).

mod broken;
mod clients;
mod forged;
mod killed;
mod lifecycle;
mod lost;
mod network;
mod operator;
mod stage;
