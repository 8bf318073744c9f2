//! What a compose file wants.
