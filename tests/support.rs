//! What the tests stand on.

pub(crate) mod fake;
pub(crate) mod tls;
