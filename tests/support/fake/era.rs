//! The six eras of Portainer releases and their differences.

/// A group of releases that behave alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Era {
    /// 2.16 to 2.35: answers after the deployment; a failed `up` takes the stack down.
    A,
    /// 2.36 to 2.38: either pull option also recreates every container; a deployment locks the database.
    B1,
    /// 2.39 and 2.40: a failed `up` leaves the containers as they are. [`super::World::imitate_2_40`] honours `Prune`.
    B2,
    /// LTS 2.39.2: pulls only images that are not on the host.
    B3,
    /// 2.41 to 2.45.0: answers at once with Status 3. [`super::World::imitate_2_41`] pulls like [`Era::B3`].
    C,
    /// 2.45.1 and later: takes a stack in Status 4 down before every update; keeps git credentials that an update omits.
    D,
}

impl Era {
    /// Every era, for tests that hold in all of them.
    pub(crate) const ALL: [Era; 6] = [Era::A, Era::B1, Era::B2, Era::B3, Era::C, Era::D];

    /// The version a fake of this era reports.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Era::A => "2.24.0",
            Era::B1 => "2.38.0",
            Era::B2 => "2.39.0",
            Era::B3 => "2.39.2",
            Era::C => "2.43.0",
            Era::D => "2.45.1",
        }
    }

    /// The deployment continues after the answer, which has Status 3.
    pub(crate) fn answers_at_once(self) -> bool {
        self >= Era::C
    }

    /// `RepullImageAndRedeploy` is supported, and either option pulls and recreates every container.
    pub(super) fn pull_recreates(self) -> bool {
        self >= Era::B1
    }

    /// A failed `up` is followed by a `down` of the whole project.
    pub(crate) fn failure_takes_down(self) -> bool {
        self <= Era::B1
    }

    /// The whole update, including the deployment, runs inside one write transaction of Portainer's database.
    pub(super) fn deploy_locks_database(self) -> bool {
        matches!(self, Era::B1 | Era::B2 | Era::B3)
    }

    /// Every update takes a stack in Status 4 down first, not only git/redeploy.
    pub(super) fn file_update_takes_failed_stack_down(self) -> bool {
        self == Era::D
    }

    /// `PullImage` pulls only images that are not on the host.
    pub(super) fn pulls_missing_only(self) -> bool {
        self == Era::B3
    }

    /// Compose removes or reuses the containers of an interrupted update instead of failing because of their names.
    pub(crate) fn clears_leftovers(self) -> bool {
        self >= Era::B1
    }

    /// A standard user's file is validated by an old loader without variables (2.38 to 2.39).
    pub(super) fn validates_with_old_loader(self) -> bool {
        self.deploy_locks_database()
    }

    /// `X-Registry-Auth` that is not base64 is refused; before, it meant no credentials.
    pub(super) fn reports_bad_registry_auth(self) -> bool {
        self >= Era::B2
    }

    /// `endpointId=0` means the stack's own environment.
    pub(super) fn accepts_environment_zero(self) -> bool {
        self >= Era::B2
    }

    /// A Git field that an update omits keeps its value (2.41 and later).
    pub(super) fn keeps_omitted_git_fields(self) -> bool {
        self >= Era::C
    }

    /// Git credentials that an update omits are kept (2.45.1 and later).
    pub(super) fn keeps_git_credentials(self) -> bool {
        self == Era::D
    }

    /// Two credentials are 401, keys in the query are refused, cookies are accepted, foreign origins are refused (2.41 and later).
    pub(super) fn checks_origin(self) -> bool {
        self >= Era::C
    }

    /// Git settings live in Sources, which have owners and users of their own (2.43 and later).
    pub(super) fn has_sources(self) -> bool {
        self >= Era::C
    }
}
