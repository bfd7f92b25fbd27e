//! The functions of a deployment, by name.

/// Which function of the deployment serves a route, or reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Registration.
    Register,
    /// Challenges.
    Auth,
    /// Attestation and release.
    Attest,
    /// Each of them.
    Any,
}
