//! Support code shared by the tests.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod fake;
pub(crate) mod program;
#[path = "../src/random.rs"]
pub(crate) mod random;
pub(crate) mod sentinels;
pub(crate) mod shop;
pub(crate) mod sign;
pub(crate) mod staff;
pub(crate) mod temp_dir;
pub(crate) mod tls;
