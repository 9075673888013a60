//! What an event carries while it is in the clear: in memory, until it is sealed, and in nothing that is shown.

/// Compact JSON of the opaque object, which no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(String);

impl Payload {
    /// Wraps what is to be sealed.
    pub(crate) fn new(json: impl Into<String>) -> Self {
        Self(json.into())
    }

    /// The payload itself: for the sealer or a keyed hash, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[payload]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Payload::new("s3cret")), "[payload]");
    }
}
