/// Makes [`AppraisalCheck`](super::AppraisalCheck) of the rows in `table.rs`.
///
/// ```
/// use keybroker_common::appraisal::Demand::{self, Floor};
/// include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/appraisal/enumerate.rs"));
///
/// enumerate! {
///     /// The guest is well.
///     Health { name: "health", demand: Floor, rule: health, means: "It is not.", helps: "Rest does.", }
/// }
///
/// fn main() {
///     assert!(AppraisalCheck::all().all(AppraisalCheck::is_floor));
/// }
/// ```
///
/// A row that lacks a column does not compile:
///
/// ```compile_fail
/// use keybroker_common::appraisal::Demand::{self, Floor};
/// include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/appraisal/enumerate.rs"));
///
/// enumerate! {
///     /// The guest is well.
///     Health { name: "health", demand: Floor, means: "It is not.", helps: "Rest does.", }
/// }
///
/// fn main() {
///     assert!(AppraisalCheck::all().all(AppraisalCheck::is_floor));
/// }
/// ```
macro_rules! enumerate {
    ($(
        $(#[$doc:meta])+
        $check:ident {
            name: $name:literal,
            demand: $demand:expr,
            rule: $rule:expr,
            means: $means:expr,
            helps: $helps:expr,
        }
    )+) => {
        /// The checks of appraisal, in their order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AppraisalCheck {
            $($(#[$doc])+ $check,)+
        }

        impl AppraisalCheck {
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

            /// The party that demands it.
            pub fn demand(self) -> Demand {
                match self {
                    $(Self::$check => $demand,)+
                }
            }

            /// Whether it holds for every guest, and no registration lowers it.
            pub fn is_floor(self) -> bool {
                matches!(self.demand(), Demand::Floor)
            }

            /// The meaning of the failure when a guest fails the check, for an operator.
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
