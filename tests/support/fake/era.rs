//! The four ways Portainer releases behave (contract, head and section 4), as questions the rest of the fake asks.

/// Which releases the fake imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Era {
    /// 2.16 to 2.35 (observed 2.24): answers when the deploy is over; a failed `up` takes the stack down.
    A,
    /// 2.36 to 2.40: re-pull recreates everything; a failed `up` leaves containers as they are.
    B,
    /// 2.41 to 2.45.0: answers at once with Status 3.
    C,
    /// 2.45.1 and later: as C, and keeps git credentials that an update does not send.
    D,
}

impl Era {
    /// Every era, for tests that hold in all of them.
    pub(crate) const ALL: [Era; 4] = [Era::A, Era::B, Era::C, Era::D];

    /// The version a fake of this era reports.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Era::A => "2.24.0",
            Era::B => "2.38.1",
            Era::C => "2.43.0",
            Era::D => "2.45.1",
        }
    }

    /// The deploy goes on after the answer, which says Status 3.
    pub(super) fn answers_at_once(self) -> bool {
        self >= Era::C
    }

    /// `RepullImageAndRedeploy` is known: it pulls, and recreates every container.
    pub(super) fn knows_repull(self) -> bool {
        self >= Era::B
    }

    /// A failed `up` is followed by a `down` of the whole project.
    pub(super) fn failure_takes_down(self) -> bool {
        self == Era::A
    }

    /// Compose stacks honour `Prune`, and `Option.Prune` remembers it.
    pub(super) fn honours_prune(self) -> bool {
        self >= Era::C
    }

    /// A git field that the update omits stays as it was (2.43 and later).
    pub(super) fn keeps_omitted_git_fields(self) -> bool {
        self >= Era::C
    }

    /// Git credentials that the update omits stay as they were (2.45.1 and later).
    pub(super) fn keeps_git_credentials(self) -> bool {
        self == Era::D
    }
}
