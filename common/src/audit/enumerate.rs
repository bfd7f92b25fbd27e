/// Makes [`Check`](super::Check) of the checks of verification and of appraisal, and of the rows of the
/// broker's own:
///
/// - the text above a row: what holds;
/// - `name`: its stable name, as records and metrics carry it;
/// - `means`, `helps`: for an operator, where it failed;
/// - `undecided`: the same where nothing was decided for want of it, if that is something else.
///
/// ```
/// use keybroker_common::{appraisal::AppraisalCheck, audit::Meaning};
/// use keybroker_snp::verify::VerificationCheck;
/// include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/audit/enumerate.rs"));
///
/// enumerate! {
///     /// It is day.
///     Day { name: "day", means: "It is night.", helps: "Wait.", }
/// }
///
/// fn main() {
///     assert_eq!(Check::Day.meaning(true).helps, "Wait.");
/// }
/// ```
///
/// A row that lacks a column does not compile:
///
/// ```compile_fail
/// use keybroker_common::{appraisal::AppraisalCheck, audit::Meaning};
/// use keybroker_snp::verify::VerificationCheck;
/// include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/audit/enumerate.rs"));
///
/// enumerate! {
///     /// It is day.
///     Day { name: "day", helps: "Wait.", }
/// }
///
/// fn main() {
///     assert_eq!(Check::Day.meaning(true).helps, "Wait.");
/// }
/// ```
macro_rules! enumerate {
    ($(
        $(#[$doc:meta])+
        $check:ident {
            name: $name:literal,
            means: $means:literal,
            helps: $helps:literal,
            $(undecided: {
                means: $undecided:literal,
                helps: $helps_then:literal,
            },)?
        }
    )+) => {
        /// A check of the broker, or something that a decision needs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Check {
            /// A check of the cryptography.
            Verification(VerificationCheck),
            /// A check of what the evidence says.
            Appraisal(AppraisalCheck),
            $($(#[$doc])+ $check,)+
        }

        impl Check {
            /// Every check that a record can name.
            pub fn all() -> impl Iterator<Item = Self> {
                let verification = VerificationCheck::all().map(Self::Verification);
                let appraisal = AppraisalCheck::all().map(Self::Appraisal);
                verification.chain(appraisal).chain([$(Self::$check),+])
            }

            /// Its stable name, as records and metrics carry it.
            pub fn name(self) -> &'static str {
                match self {
                    Self::Verification(check) => check.name(),
                    Self::Appraisal(check) => check.name(),
                    $(Self::$check => $name,)+
                }
            }

            /// The meaning and the advice if the check failed or, with `undecided`, if the broker could not
            /// make it.
            pub fn meaning(self, undecided: bool) -> Meaning {
                match self {
                    Self::Verification(check) => Meaning { means: check.means(), helps: check.helps() },
                    Self::Appraisal(check) => Meaning { means: check.means(), helps: check.helps() },
                    $($(Self::$check if undecided => Meaning { means: $undecided, helps: $helps_then },)?
                    Self::$check => Meaning { means: $means, helps: $helps },)+
                }
            }
        }
    };
}
