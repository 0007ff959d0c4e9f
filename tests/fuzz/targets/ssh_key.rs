#![no_main]

#[path = "../laws/ssh_key.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::holds(input));
