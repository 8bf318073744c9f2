//! Image references in canonical form.

/// A reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference(String);

/// A glob over references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Reference {
    pub(crate) fn matches_event(&self, named: &Reference) -> bool {
        self == named
    }

    pub(crate) fn familiar(&self) -> String {
        self.0.clone()
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        Ok(Pattern(text.to_owned()))
    }

    pub(crate) fn matches(&self, wanted: &Reference) -> bool {
        self.0 == wanted.0
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
