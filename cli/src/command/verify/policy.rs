//! A Rego policy, tried on the report's claims.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use keybroker_common::policy::{Claims, Gave, PolicyText};
use keybroker_rego::{Policy, PolicyError, allow_query};
use keybroker_snp::{
    report::Report,
    silicon::Cpuid,
    vek::{Identity, Vek},
};

use crate::{
    bounded,
    exit::{Failure, Unusable},
    policy_fault::{self, Sources},
};

/// The parts of a policy.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A policy to try", group = clap::ArgGroup::new("asked").multiple(true))]
pub(super) struct PolicyArgs {
    /// A module in Rego, evaluated with the report's claims as `input`
    #[arg(long, value_name = "FILE", group = "asked")]
    policy: Option<PathBuf>,
    /// The reference values: a JSON object, which is the root of `data` [default: an empty object]
    #[arg(long, value_name = "FILE", requires = "asked")]
    reference: Option<PathBuf>,
    /// A query that must give true [default: allow of the policy's package]
    #[arg(long = "query", value_name = "REGO", group = "asked")]
    queries: Vec<String>,
}

/// A policy that compiles, with its queries as they were written.
pub(super) struct Tried {
    policy: Policy,
    pub(super) queries: Vec<String>,
}

impl PolicyArgs {
    /// Reads and compiles the policy. `None` if there is none.
    pub(super) fn read(&self) -> Result<Option<Tried>, Failure> {
        let module = self.policy.as_deref().map(read).transpose()?;
        let queries = match &module {
            Some(module) if self.queries.is_empty() => {
                vec![allow_query(module).map_err(|error| self.refused(error))?]
            }
            _ => self.queries.clone(),
        };
        if queries.is_empty() {
            return Ok(None);
        }
        let reference_values = self.reference.as_deref().map_or(Ok("{}".to_owned()), read)?;
        let text = PolicyText { module, queries, reference_values };
        let policy = Policy::compile(&text).map_err(|error| self.refused(error))?;
        Ok(Some(Tried { policy, queries: text.queries }))
    }

    /// The failure of a policy that does not compile.
    fn refused(&self, error: PolicyError) -> Failure {
        let sources = Sources {
            module: self.policy.as_deref(),
            queries: None,
            reference_values: self.reference.as_deref(),
            given: &self.queries,
        };
        policy_fault::failure(error, sources)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = bounded::read(path, bounded::TEXT)
        .with_context(|| Unusable(format!("cannot read {}", path.display())))?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8"));
    Ok(text.with_context(|| Unusable::content(path))?)
}

impl Tried {
    /// The result of each query, as the broker would have it. `None` if nothing names the report's product,
    /// on which the layout of its TCB depends.
    pub(super) fn results(&self, report: &Report, vek: Option<&Vek>) -> Option<Vec<Gave>> {
        let by_cpuid = || report.cpuid().and_then(Cpuid::product);
        let product = vek.map(|vek| vek.product).or_else(by_cpuid)?;
        let csp_id = vek.and_then(|vek| match &vek.identity {
            Identity::Provider(csp_id) => Some(csp_id.as_str()),
            Identity::Chip(_) => None,
        });
        Some(self.policy.results_of_broker(&Claims::unverified(report, product, csp_id)))
    }
}
