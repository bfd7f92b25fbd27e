//! The callers that an operator lets register.

/// By what a request for registration may be let in: any of these that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Anybody who reaches the broker. Such registrations have no owner.
    pub open: bool,
    /// Holders of a token that an operator made.
    pub token: bool,
    /// A principal that somebody in front of the broker has authenticated.
    pub iam: bool,
}

impl Admission {
    /// Nobody.
    pub const NONE: Self = Self { open: false, token: false, iam: false };
    /// Anybody.
    pub const OPEN: Self = Self { open: true, ..Self::NONE };

    /// Reads names separated by `;`: `open`, `token`, `iam`, at least one of them.
    pub fn parse(names: &str) -> Result<Self, &'static str> {
        let mut admission = Self::NONE;
        for name in names.split(';').map(str::trim) {
            match name {
                "open" => admission.open = true,
                "token" => admission.token = true,
                "iam" => admission.iam = true,
                _ => return Err("must be open, token or iam, or several of them with `;` between"),
            }
        }
        Ok(admission)
    }
}
