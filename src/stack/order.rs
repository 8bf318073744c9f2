//! The order of one delivery or command for one stack; orders that wait for the same stack are merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::{Pattern, Reference};

/// The changes that a delivery or command requests of one stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The images that are new.
    pub(crate) images: Selection,
    /// Variables to set, merged into the stored ones.
    pub(crate) set: BTreeMap<String, String>,
    /// Submit even if nothing is newer.
    pub(crate) force: bool,
    /// The event behind it; a git stack's `unchanged` depends on it.
    pub(crate) cause: Cause,
    /// Requested by staff, whose own pause it ignores.
    #[serde(default)]
    pub(crate) staff: bool,
    /// A rollback to the previous images; only staff request it, and only for a stack without another order.
    #[serde(default, rename = "back")]
    pub(crate) rollback: bool,
}

/// The services that an order selects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Selection {
    /// All services, without those that `except` names.
    #[default]
    All,
    /// The services whose image is named.
    Only(Vec<ImageFilter>),
}

/// One way of naming images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ImageFilter {
    /// A reference in an event; without tag and digest it matches every tag.
    Reference(Reference),
    /// A pattern of a hook's `images`, for events that name no images.
    Pattern(Pattern),
}

/// The event behind an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// A request for an update.
    #[default]
    Asked,
    /// An image was pushed.
    Image,
    /// Commits were pushed; the newest one, if the event names it.
    Push(Option<String>),
}

impl ImageFilter {
    /// Returns true if a service with the image `wanted` is selected.
    pub(crate) fn matches(&self, wanted: &Reference) -> bool {
        match self {
            ImageFilter::Reference(reference) => wanted.matches_event(reference),
            ImageFilter::Pattern(pattern) => pattern.matches(wanted),
        }
    }

    /// Returns true if it may select another tag of the repository of `running`.
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
    /// Returns true if a service with the image `wanted` is selected; `except` applies only if no image is named.
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
    /// Merges a later order: all images of both, forced if one is, the later commit. Variables are merged by the stack queue, which knows
    /// the newer value.
    pub(crate) fn merge(&mut self, later: Order) {
        let images = std::mem::take(&mut self.images);
        self.images = images.merge(later.images);
        self.force |= later.force;
        self.staff |= later.staff;
        // A request for an update wins over a rollback that has not begun: no reply may report an update that was not made.
        self.rollback &= later.rollback;
        self.cause = match (std::mem::take(&mut self.cause), later.cause) {
            // A request always leads to a submit.
            (Cause::Asked, _) | (_, Cause::Asked) => Cause::Asked,
            (Cause::Push(_), Cause::Push(commit)) => Cause::Push(commit),
            // A deployed commit proves nothing about the image.
            (Cause::Push(_), Cause::Image) | (Cause::Image, Cause::Push(_)) => Cause::Push(None),
            (Cause::Image, Cause::Image) => Cause::Image,
        };
    }
}
