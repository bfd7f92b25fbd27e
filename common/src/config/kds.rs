//! An operator's settings about AMD's Key Distribution Service (KDS).

use jiff::SignedDuration;

/// Where AMD's certificates come from, and for which chips they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KdsSettings {
    /// Base URL of AMD's KDS, or of a service that answers like it.
    pub kds_url: String,
    /// Authorities that TLS to it may rest on beside the usual ones: certificates in PEM, or nothing.
    pub kds_authorities: Vec<u8>,
    /// Never ask for the certificate of a chip that is not in the store yet.
    pub known_chips_only: bool,
    /// The longest time since its thisUpdate for which a revocation list counts. It can only end a list's
    /// time earlier than the list does.
    pub crl_max_age: Option<SignedDuration>,
    /// How fast the KDS is asked for chips that nobody has seen.
    pub new_chips: NewChips,
}

impl KdsSettings {
    /// AMD's own KDS.
    pub const AMD: &'static str = "https://kdsintf.amd.com";
}

impl Default for KdsSettings {
    fn default() -> Self {
        Self {
            kds_url: Self::AMD.to_owned(),
            kds_authorities: Vec::new(),
            known_chips_only: false,
            crl_max_age: None,
            new_chips: NewChips::default(),
        }
    }
}

/// The pace at which the KDS is asked for chips that nobody has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewChips {
    /// How many a minute for long; 0 for as many as come. Without it [`NewChips::PER_MINUTE`] of AMD's own
    /// KDS, and of another as many as come, unless `burst` is given.
    pub per_minute: Option<u32>,
    /// How many at once, after a while without any. Without it [`NewChips::BURST`].
    pub burst: Option<u32>,
}

impl NewChips {
    /// As fast as AMD answers for long.
    pub const PER_MINUTE: u32 = 6;
    /// Some hosts that are put into service together.
    pub const BURST: u32 = 8;
    /// The fastest pace that can be set.
    pub const MAX_PER_MINUTE: u32 = 6000;
    /// The largest burst: it also bounds how many workloads are told apart.
    pub const MAX_BURST: u32 = 1000;
}
