//! The things that a policy must not do, in the words for the party that registers it.

use crate::builtins;

/// A thing that a policy must not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// A function that is neither the policy's own nor one of the builtins that policies may call.
    #[error(
        "the function {0} is not one that a policy may call: its own, and {allowed}",
        allowed = builtins::allowed()
    )]
    Function(String),
    /// A call with more or fewer arguments than the function has.
    #[error(
        "a call of {0} with another number of arguments than it has: write x := {0}(...) for what it gives"
    )]
    Arguments(String),
    /// A call of something that is no plain name.
    #[error("a call by anything but a function's name")]
    IndirectCall,
    /// `to_number` of something else than a claim.
    #[error("to_number of anything but a claim (to_number(input.…))")]
    ToNumber,
    /// `with`.
    #[error("the keyword with: what is to be replaced can be the argument of a function of the policy's own")]
    With,
    /// `with` in a rule for `opa test`.
    #[error("the keyword with, in the test {0}: keep tests in a file of their own, which is not registered")]
    WithInTest(String),
    /// An import.
    #[error("an import other than rego.v1 and future.keywords: write the whole path")]
    Import,
    /// A target.
    #[error("a target")]
    Target,
    /// A package whose name is no path of plain names.
    #[error("a package name that is not made of plain names")]
    Package,
    /// A rule without a plain name at its head, or with that of a builtin.
    #[error("a rule whose name is not plain, or a builtin's")]
    RuleName,
    /// A function whose name is a path: under parts of it the interpreter finds builtins.
    #[error("a function whose name is not one plain name")]
    FunctionName,
    /// A variable with the name of what is given.
    #[error("a variable named input or data")]
    Shadow,
    /// `<`, `<=`, `>` or `>=` with what may be no number.
    #[error(
        "the order of {0}, which can be {1}: only numbers have one. Claims are numbers in input.snp, and a reference value is one without quotes"
    )]
    Ordered(String, String),
    /// An expression that is neither true nor false as a condition.
    #[error(
        "{0} alone as a condition, which can be {1}: it holds whatever that is. Say what it must be, as in {0} == ..., or count(...) > 0"
    )]
    Condition(String, String),
    /// A variable under `not` that has no value from elsewhere.
    #[error(
        "{0} under not, without a value from elsewhere: not would hold as soon as one value differs. Write not x in y, or give it a value before (some {0} in ...)"
    )]
    Unbound(String),
    /// Two values that are said to differ and always do.
    #[error("that {0}, which can be {1}, differs from {2}, which can be {3}: they always do")]
    Differs(String, String, String, String),
    /// A variable that is declared and not used.
    #[error("some {0}, which nothing uses")]
    Unused(String),
    /// A value under `not` that may be missing.
    #[error(
        "{0} under not, where it can be missing: not would hold then. Write x := {0} before, and x in its place, or say without not what must be"
    )]
    Missing(String),
    /// A rule with brackets at its head and no value.
    #[error("{0}[...] without a value, which makes an object and no set: write {0} contains ... if")]
    PartialObject(String),
    /// `not` before a name that nothing has.
    #[error("{0} under not, where nothing has this name")]
    Absent(String),
    /// The whole package or the whole of `data`, or a rule by a computed name.
    #[error("the policy's own package other than by the full name of a rule")]
    OwnPackage,
    /// A rule that needs itself. A variable with the name of a rule counts as that rule.
    #[error("the rule {0} needs itself (a variable of a rule's name counts as the rule)")]
    Recursion(String),
    /// An expression, or a chain of rules, deeper than the stack allows for.
    #[error("expressions, or rules that need each other, nested too deeply")]
    Depth,
    /// Values built of values built of values.
    #[error("collections built of collections: values could grow out of proportion")]
    Growth,
}
