//! What one delivery, or one command, asks of one stack; orders that wait for the same stack are merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::{Pattern, Reference};

/// What is asked of one stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which images are new.
    pub(crate) images: Selection,
    /// Variables to set, merged into the stored ones.
    pub(crate) set: BTreeMap<String, String>,
    /// Submit even if nothing is newer.
    pub(crate) force: bool,
    /// What happened; a git stack's `unchanged` depends on it.
    pub(crate) cause: Cause,
    /// Asked for by staff themselves, who go through their own pause.
    #[serde(default)]
    pub(crate) staff: bool,
    /// Not forward but back to the images that ran before; only staff ask for it, and only of a stack that nothing else is asked of.
    #[serde(default, rename = "back")]
    pub(crate) rollback: bool,
}

/// Which services an order is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Selection {
    /// All of them (but the ones that `except` takes out).
    #[default]
    All,
    /// Those whose image is named.
    Only(Vec<ImageFilter>),
}

/// One way of naming images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ImageFilter {
    /// By an event: a reference; without tag and digest it stands for every tag.
    Reference(Reference),
    /// By a hook's `images`, for events that name none.
    Pattern(Pattern),
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// Somebody asked for an update.
    #[default]
    Asked,
    /// An image was pushed.
    Image,
    /// Commits were pushed; the newest one, when the event says so.
    Push(Option<String>),
}

impl ImageFilter {
    /// Whether a service that wants `wanted` is meant.
    pub(crate) fn matches(&self, wanted: &Reference) -> bool {
        match self {
            ImageFilter::Reference(reference) => wanted.matches_event(reference),
            ImageFilter::Pattern(pattern) => pattern.matches(wanted),
        }
    }

    /// Whether it may mean another tag of the repository of `running`.
    pub(crate) fn may_match_repository(&self, running: &Reference) -> bool {
        match self {
            ImageFilter::Reference(reference) => running
                .without_version()
                .matches_event(&reference.without_version()),
            ImageFilter::Pattern(_) => true,
        }
    }
}

impl std::fmt::Display for ImageFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ImageFilter::Reference(reference) => f.write_str(&reference.familiar()),
            ImageFilter::Pattern(pattern) => write!(f, "{pattern}"),
        }
    }
}

impl Selection {
    /// Whether a service that wants `wanted` is meant; `except` holds only where no image is named.
    pub(crate) fn matches(&self, wanted: &Reference, except: &[Pattern]) -> bool {
        match self {
            Selection::All => !except.iter().any(|pattern| pattern.matches(wanted)),
            Selection::Only(named) => named.iter().any(|named| named.matches(wanted)),
        }
    }

    fn merge(self, later: Selection) -> Selection {
        match (self, later) {
            (Selection::Only(mut named), Selection::Only(more)) => {
                for one in more {
                    if !named.contains(&one) {
                        named.push(one);
                    }
                }
                Selection::Only(named)
            }
            (Selection::All, _) | (_, Selection::All) => Selection::All,
        }
    }
}

impl Order {
    /// One order that does what both ask: all images of both, forced if one is, the later commit. Variables are
    /// merged by the lane, which knows whose value is newer.
    pub(crate) fn merge(&mut self, later: Order) {
        let images = std::mem::take(&mut self.images);
        self.images = images.merge(later.images);
        self.force |= later.force;
        self.staff |= later.staff;
        // Whoever asks for an update while a way back has not begun gets the update: to be told of one that was not made is worse.
        self.rollback &= later.rollback;
        self.cause = match (std::mem::take(&mut self.cause), later.cause) {
            // Somebody who asked gets a submit, whatever else happened.
            (Cause::Asked, _) | (_, Cause::Asked) => Cause::Asked,
            (Cause::Push(_), Cause::Push(commit)) => Cause::Push(commit),
            // That the commit is deployed says nothing of the image.
            (Cause::Push(_), Cause::Image) | (Cause::Image, Cause::Push(_)) => Cause::Push(None),
            (Cause::Image, Cause::Image) => Cause::Image,
        };
    }
}
