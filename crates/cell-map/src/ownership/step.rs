//! What every step returns.

/// What a step of the protocol writes, under the exclusive bucket lock in which its rows were read (OWN-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<W> {
    /// Write this, all of it in the transaction that read the rows.
    Write(W),
    /// The step was done before: a repeat writes nothing and is answered like the first time.
    Unchanged,
}

impl<W> Step<W> {
    /// What to write, if anything.
    #[must_use]
    pub fn written(self) -> Option<W> {
        match self {
            Self::Write(written) => Some(written),
            Self::Unchanged => None,
        }
    }
}
