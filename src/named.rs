//! Choices that have a name in the configuration: an enum, its names, and the way between, written once.

/// Declares an enum whose variants have a name each.
macro_rules! named {
    ($(#[$about:meta])* $kind:ident: $($(#[$note:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $kind { $($(#[$note])* $variant),+ }

        #[allow(dead_code, reason = "some choices are only read, others only written")]
        impl $kind {
            /// Every name, in the order of the documentation.
            pub(crate) const NAMES: &'static [&'static str] = &[$($name),+];

            /// The one that is written `text`.
            pub(crate) fn parse(text: &str) -> Option<$kind> {
                match text { $($name => Some($kind::$variant),)+ _ => None }
            }

            /// How it is written.
            pub(crate) fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),+ }
            }
        }
    };
}

pub(crate) use named;
