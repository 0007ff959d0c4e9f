#![no_main]

#[path = "../laws/json.rs"]
mod law;
#[path = "../laws/text.rs"]
mod text;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::holds(input));
