//! The kinds of key that AMD publishes revocation lists for.

use keybroker_snp::endorsement::EndorsementKind;

/// A kind of key that AMD publishes a list for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum KeyKind {
    /// Chips' own keys
    Vcek,
    /// Cloud providers' keys
    Vlek,
}

impl From<KeyKind> for EndorsementKind {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Vcek => Self::Vcek,
            KeyKind::Vlek => Self::Vlek,
        }
    }
}
