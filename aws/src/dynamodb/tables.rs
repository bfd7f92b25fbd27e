//! Which tables a function holds: a store without the name of a table has none of the methods that need it.

use std::fmt::Debug;

/// A set of tables.
pub trait Tables: Debug + Send + Sync + 'static {}

/// Names the table of registrations.
pub trait WorkloadsTable: Tables {
    /// Its name; its key is `workload_id`.
    fn workloads(&self) -> &str;
}

/// Names the table of tokens.
pub trait TokensTable: Tables {
    /// Its name; its key is `token`.
    fn tokens(&self) -> &str;
}

/// Names the table of the broker's own keys.
pub trait KeysTable: Tables {
    /// Its name; its key is `name`.
    fn keys(&self) -> &str;
}

/// Names the table of the decisions about guests.
pub trait DecisionsTable: Tables {
    /// Its name; its key is `id`. It has an index `workload`, of the attributes `workload_id` and then
    /// `time`, with the keys alone.
    fn decisions(&self) -> &str;
}

/// Names the table of endorsements.
pub trait EndorsementsTable: Tables {
    /// Its name; its key is `name`.
    fn endorsements(&self) -> &str;
}

/// Names the table of the audit records of registrations and operators.
pub trait AuditTable: Tables {
    /// Its name; its key is `id`. Where an operator asks it has an index `workload`, of the attributes
    /// `workload_id` and then `time`, with all of the items.
    fn audit(&self) -> &str;
}

/// A set of tables and the names in it.
macro_rules! tables {
    ($(#[$doc:meta])* $set:ident { $($table:ident: $name:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $set {$(
            #[doc = concat!("Name of the table of ", stringify!($name), ".")]
            pub $name: String,
        )*}

        impl Tables for $set {}

        $(impl $table for $set {
            fn $name(&self) -> &str {
                &self.$name
            }
        })*
    };
}

tables! {
    /// The tables of `auth`.
    AuthTables { KeysTable: keys }
}

tables! {
    /// The tables of `register`.
    RegisterTables { WorkloadsTable: workloads, TokensTable: tokens, AuditTable: audit }
}

tables! {
    /// The tables of an operator's commands.
    OperatorTables {
        WorkloadsTable: workloads,
        TokensTable: tokens,
        DecisionsTable: decisions,
        KeysTable: keys,
        EndorsementsTable: endorsements,
        AuditTable: audit
    }
}

impl OperatorTables {
    /// The names that the template for deployment gives, as [`AllTables::with_prefix`] says.
    pub fn with_prefix(prefix: &str) -> Self {
        let AllTables { workloads, tokens, decisions, keys, endorsements, audit } =
            AllTables::with_prefix(prefix);
        Self { workloads, tokens, decisions, keys, endorsements, audit }
    }
}

tables! {
    /// The tables of `attest`.
    AttestTables {
        WorkloadsTable: workloads,
        DecisionsTable: decisions,
        KeysTable: keys,
        EndorsementsTable: endorsements
    }
}

tables! {
    /// Every table: for tests and what sets a deployment up.
    AllTables {
        WorkloadsTable: workloads,
        TokensTable: tokens,
        DecisionsTable: decisions,
        KeysTable: keys,
        EndorsementsTable: endorsements,
        AuditTable: audit
    }
}

impl AllTables {
    /// The names that the template for deployment gives: `prefix` and, after a hyphen, what the table holds.
    pub fn with_prefix(prefix: &str) -> Self {
        let name = |table| format!("{prefix}-{table}");
        Self {
            workloads: name("workloads"),
            tokens: name("tokens"),
            decisions: name("decisions"),
            keys: name("keys"),
            endorsements: name("endorsements"),
            audit: name("audit"),
        }
    }
}
