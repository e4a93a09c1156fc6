//! The holder's life, from the first ask to release or loss, as a pure machine.

/// What a machine must know of an engine's error.
pub trait Trouble: Clone {
    /// True if waiting and asking again cannot mend it: rights, configuration, versions.
    fn is_permanent(&self) -> bool;
    /// True where the store may have acted all the same.
    fn outcome_unknown(&self) -> bool;
    /// The error of a request that was not answered in time.
    fn unanswered() -> Self;
}
