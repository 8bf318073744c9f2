//! What was seen of a stack's containers → whether they are well. Looking is left to others; time comes in.

pub(crate) mod seen;
pub(crate) mod compose;
