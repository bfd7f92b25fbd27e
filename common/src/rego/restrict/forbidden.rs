//! What a policy may not do, as whoever registers it is told.

/// What a policy may not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// A function that is neither the policy's own nor one of the builtins that policies may call.
    #[error("the function {0} is not one that a policy may call")]
    Function(String),
    /// A call of something that is no plain name.
    #[error("a call by anything but a function's name")]
    IndirectCall,
    /// `to_number` of something else than a claim.
    #[error("to_number of anything but a claim (to_number(input.…))")]
    ToNumber,
    /// `with`.
    #[error("the keyword with")]
    With,
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
    /// `<`, `<=`, `>` or `>=` with a claim that is a string.
    #[error("the order of {0}, a string: compare what is in input.snp")]
    Ordered(String),
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
