//! The checks of verification, by name, and what one can come to.

/// What a check came to.
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

/// The checks of verification, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The report is bound to the challenge.
    Challenge,
    /// The report says that it was signed.
    Signed,
    /// The report's signing key is of the certificate's kind.
    SigningKey,
    /// The certificate leads to a trust anchor.
    Chain,
    /// The certificates are valid now.
    Validity,
    /// None of them is revoked, by a CRL that counts now.
    Revocation,
    /// The CPU is of the certificate's product.
    Product,
    /// The reported TCB is the certificate's.
    ReportedTcb,
    /// The chip is the certificate's, or the provider is accepted.
    Identity,
    /// The certificate's key made the signature.
    Signature,
}

impl Check {
    /// Every check, in the order in which they are made.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter()
    }

    /// The check's stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Signed => "signed",
            Self::SigningKey => "signing-key",
            Self::Chain => "certificate-chain",
            Self::Validity => "certificate-validity",
            Self::Revocation => "revocation",
            Self::Product => "product",
            Self::ReportedTcb => "reported-tcb",
            Self::Identity => "chip-or-provider",
            Self::Signature => "signature",
        }
    }
}

/// Every check, in the order in which they are made.
const ALL: [Check; 10] = [
    Check::Challenge,
    Check::Signed,
    Check::SigningKey,
    Check::Chain,
    Check::Validity,
    Check::Revocation,
    Check::Product,
    Check::ReportedTcb,
    Check::Identity,
    Check::Signature,
];
