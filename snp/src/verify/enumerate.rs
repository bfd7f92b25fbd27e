/// Makes [`VerificationCheck`](super::VerificationCheck) of the rows in `table.rs`.
///
/// ```
/// include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/verify/enumerate.rs"));
///
/// enumerate! {
///     /// The report is AMD's.
///     Genuine { name: "genuine", rule: genuine, means: "It is not.", helps: "Nothing does.", }
/// }
///
/// fn main() {
///     assert_eq!(VerificationCheck::all().next().map(VerificationCheck::name), Some("genuine"));
/// }
/// ```
///
/// A row that lacks a column does not compile:
///
/// ```compile_fail
/// include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/verify/enumerate.rs"));
///
/// enumerate! {
///     /// The report is AMD's.
///     Genuine { name: "genuine", means: "It is not.", helps: "Nothing does.", }
/// }
///
/// fn main() {
///     assert_eq!(VerificationCheck::all().next().map(VerificationCheck::name), Some("genuine"));
/// }
/// ```
macro_rules! enumerate {
    ($(
        $(#[$doc:meta])+
        $check:ident {
            name: $name:literal,
            rule: $rule:ident,
            means: $means:literal,
            helps: $helps:literal,
        }
    )+) => {
        /// The checks of verification, in their order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum VerificationCheck {
            $($(#[$doc])+ $check,)+
        }

        impl VerificationCheck {
            /// Every check, in the order in which they are made.
            pub fn all() -> impl Iterator<Item = Self> {
                [$(Self::$check),+].into_iter()
            }

            /// The check's stable name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$check => $name,)+
                }
            }

            /// The meaning of the failure when a report fails the check, for an operator.
            pub fn means(self) -> &'static str {
                match self {
                    $(Self::$check => $means,)+
                }
            }

            /// The advice: things that an operator can do about it.
            pub fn helps(self) -> &'static str {
                match self {
                    $(Self::$check => $helps,)+
                }
            }
        }
    };
}
