//! What the system says of an error, as a person reads it.

use std::io;

/// Without the number that the standard library puts behind, and in lower case like all that we say.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_error_is_left_out() {
        let missing = std::fs::read("/no such directory/file").unwrap_err();
        assert_eq!(words(&missing), "no such file or directory");
        let ours = io::Error::other("the name is not A");
        assert_eq!(words(&ours), "the name is not A");
    }
}
