//! The checks of verification, by name, and what one can come to.

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<E> {
    /// It holds.
    Passed,
    /// It does not.
    Failed(E),
    /// An input that it needs was not given. On the way to a release this counts as failed.
    NotChecked,
}

impl<E> From<Result<(), E>> for Outcome<E> {
    fn from(result: Result<(), E>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

impl<E> Outcome<E> {
    /// On the way to a release: nothing but [`Outcome::Passed`] will do.
    pub fn required(self, not_checked: E) -> Result<(), E> {
        match self {
            Self::Passed => Ok(()),
            Self::Failed(error) => Err(error),
            Self::NotChecked => Err(not_checked),
        }
    }

    /// For an early refusal, which accepts nothing: a check that was not made is left for later.
    pub fn not_failed(self) -> Result<(), E> {
        match self {
            Self::Passed | Self::NotChecked => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

checks!(enumerate);
