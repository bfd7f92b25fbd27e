//! The failure of a policy that does not compile: it names the file or the argument that has to change.

use std::path::Path;

use keybroker_rego::{Blame, PolicyError};

use crate::exit::{Exit, Failure, Unusable};

/// The files in which the parts of a policy are written. A part without one is an argument.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sources<'a> {
    pub(crate) module: Option<&'a Path>,
    pub(crate) queries: Option<&'a Path>,
    pub(crate) reference_values: Option<&'a Path>,
    /// The queries that are arguments.
    pub(crate) given: &'a [String],
}

impl<'a> Sources<'a> {
    /// A document that holds the whole policy.
    pub(crate) fn document(path: &'a Path) -> Self {
        Self { module: Some(path), queries: Some(path), reference_values: Some(path), given: &[] }
    }
}

/// The failure of a policy out of `sources`.
pub(crate) fn failure(error: PolicyError, sources: Sources<'_>) -> Failure {
    let (file, argument) = match error.blames() {
        Blame::Machine => return Failure::new(Exit::Failure, error),
        Blame::Module => (sources.module, None),
        Blame::Query(index) => (sources.queries, sources.given.get(index)),
        Blame::Queries => (sources.queries, None),
        // A module can come without reference values, and have what those may not have.
        Blame::ReferenceValues => (sources.reference_values.or(sources.module), None),
    };
    match (file, argument) {
        (Some(file), _) => anyhow::Error::new(error).context(Unusable::content(file)).into(),
        (None, Some(query)) => Failure::new(Exit::Usage, error).context(format!("--query {query:?}")),
        (None, None) => Failure::new(Exit::Usage, error),
    }
}

#[cfg(test)]
mod tests {
    use keybroker_common::policy::{Denied, Gave};
    use keybroker_rego::ReferenceError;

    use super::*;

    #[test]
    fn the_file_or_the_argument_at_fault_is_named() {
        let [module, values, document] = ["p.rego", "ref.json", "from.json"].map(Path::new);
        let given = ["a".to_owned()];
        let with_module =
            Sources { module: Some(module), reference_values: Some(values), queries: None, given: &given };
        let by_query = Sources { module: None, ..with_module };
        let without_values = Sources { reference_values: None, ..with_module };
        let whole = Sources::document(document);
        let values_fault = || PolicyError::ReferenceValues(ReferenceError::TooLong);
        let twice = || PolicyError::ChipTwice("ab".to_owned());
        let trial = || PolicyError::Trial(Denied { query: 0, gave: Gave::TimedOut });
        for (error, sources, exit, named) in [
            (values_fault(), with_module, Exit::Configuration, "ref.json: "),
            (values_fault(), by_query, Exit::Configuration, "ref.json: "),
            (values_fault(), whole, Exit::Configuration, "from.json: "),
            (PolicyError::Shadows("p".to_owned()), with_module, Exit::Configuration, "p.rego: "),
            (twice(), by_query, Exit::Configuration, "ref.json: "),
            (twice(), without_values, Exit::Configuration, "p.rego: "),
            (twice(), Sources::default(), Exit::Usage, "the chip id "),
            (trial(), with_module, Exit::Usage, "--query \"a\": tried with a sample"),
            (trial(), whole, Exit::Configuration, "from.json: "),
            (PolicyError::TooManyQueries, with_module, Exit::Usage, "more than "),
            (PolicyError::TooManyQueries, whole, Exit::Configuration, "from.json: "),
            (PolicyError::NoThread, whole, Exit::Failure, "no thread"),
        ] {
            let failure = failure(error, sources);
            let (told, _) = failure.told();
            assert!(failure.exit() == exit && told.starts_with(named), "{named}: {told}");
        }
    }
}
