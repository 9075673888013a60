//! How the endpoints of a scenario are laid out, and which of them one speaks of.

/// How endpoints are laid out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) endpoints: usize,
    pub(super) per_organization: usize,
    /// `max_in_flight` of each; the daemon's own when none.
    pub(super) window: Option<u32>,
    pub(super) audience: Audience,
    /// Endpoints whose receiver changes its mood, evenly among the others.
    pub(super) fickle: usize,
    /// `max_in_flight` of these.
    pub(super) fickle_window: Option<u32>,
    /// The part of what goes to everyone that goes to these.
    pub(super) fickle_share: f64,
}

impl Layout {
    /// Whether the endpoint with this number is a fickle one.
    pub(super) fn is_fickle(&self, number: usize) -> bool {
        (number + 1) * self.fickle / self.endpoints > number * self.fickle / self.endpoints
    }
}

/// Which endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    Everyone,
    /// Those whose receiver is always well.
    Steady,
    /// The others.
    Fickle,
}

impl Crowd {
    pub(super) fn holds(self, fickle: bool) -> bool {
        match self {
            Self::Everyone => true,
            Self::Steady => !fickle,
            Self::Fickle => fickle,
        }
    }
}

/// Whom one event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// One endpoint, each in turn.
    Endpoint,
    /// All endpoints of one organization, each organization in turn.
    Organization,
}
