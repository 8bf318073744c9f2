//! Small tools for text: enums that have a name in the configuration, and operating system errors as messages.

use std::io;

/// Declares an enum whose variants each have a name, with conversions in both directions.
macro_rules! string_enum {
    ($(#[$about:meta])* $kind:ident: $($(#[$note:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $kind { $($(#[$note])* $variant),+ }

        #[allow(dead_code, reason = "some enums are only parsed, others only written")]
        impl $kind {
            /// Every name, in the order of the documentation.
            pub(crate) const NAMES: &'static [&'static str] = &[$($name),+];

            /// Returns the variant with this name.
            pub(crate) fn parse(text: &str) -> Option<$kind> {
                match text { $($name => Some($kind::$variant),)+ _ => None }
            }

            /// Returns the variant with this name.
            ///
            /// Errors: the possible names, and the closest of them.
            pub(crate) fn expect(text: &str) -> Result<$kind, String> {
                $kind::parse(text).ok_or_else(|| crate::suggest::expected($kind::NAMES, text))
            }

            /// Returns the name of this variant.
            pub(crate) fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use string_enum;

/// Formats an I/O error in lowercase and without the error number that the standard library appends.
pub(crate) fn io_error_message(error: &io::Error) -> String {
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
    fn leaves_out_the_number_of_an_io_error() {
        let missing = std::fs::read("/no such directory/file").unwrap_err();
        assert_eq!(io_error_message(&missing), "no such file or directory");
        let ours = io::Error::other("the name is not A");
        assert_eq!(io_error_message(&ours), "the name is not A");
    }
}
