//! `infra/permissions.txt` and `infra/operator-permissions.txt`: the calls of each function and of each
//! operator's command on AWS, and the IAM actions that they need.

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The function, by the name of its package.
    pub function: &'static str,
    /// The operation of the API.
    pub operation: &'static str,
    /// The IAM action: the operation itself, or one that is a part of it.
    pub action: &'static str,
    /// `key`, or a table without its prefix.
    pub on: &'static str,
}

/// Every row of the functions' table. A malformed line is left out; a test of this table finds it.
pub fn permissions() -> impl Iterator<Item = Permission> {
    functions().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let row = Permission {
            function: fields.next()?,
            operation: fields.next()?,
            action: fields.next()?,
            on: fields.next()?,
        };
        fields.next().is_none().then_some(row)
    })
}

/// A row of the operators' table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorPermission {
    /// The policy that allows it, as `infra/operators` names it.
    pub policy: &'static str,
    /// The command, as a person types it.
    pub command: &'static str,
    /// The operation of the API.
    pub operation: &'static str,
    /// The IAM action: the operation itself, or one that is a part of it.
    pub action: &'static str,
    /// `key`, a table without its prefix, an index of it, or a route of the broker.
    pub on: &'static str,
}

/// Every row of the operators' table, but for the commands that call nothing on AWS. A malformed line is left
/// out, likewise.
pub fn operator_permissions() -> impl Iterator<Item = OperatorPermission> {
    operators().filter_map(operator_row).filter(|row| row.operation != "-")
}

/// The command of the operators' table that these arguments begin with.
pub fn command(arguments: &[&str]) -> Option<&'static str> {
    let commands = operators().filter_map(operator_row).map(|row| row.command);
    let begun = commands.filter(|command| {
        let words: Vec<_> = command.split(' ').collect();
        arguments.starts_with(&words)
    });
    begun.max_by_key(|command| command.len())
}

fn operator_row(line: &'static str) -> Option<OperatorPermission> {
    let mut fields = line.split("  ").map(str::trim).filter(|field| !field.is_empty());
    let row = OperatorPermission {
        policy: fields.next()?,
        command: fields.next()?,
        operation: fields.next()?,
        action: fields.next()?,
        on: fields.next()?,
    };
    fields.next().is_none().then_some(row)
}

fn functions() -> impl Iterator<Item = &'static str> {
    lines(include_str!("../../infra/permissions.txt"))
}

fn operators() -> impl Iterator<Item = &'static str> {
    lines(include_str!("../../infra/operator-permissions.txt"))
}

/// The lines that should be rows.
fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_a_row_and_none_comes_twice() {
        assert_eq!(permissions().count(), functions().count());
        assert_eq!(permissions().collect::<BTreeSet<_>>().len(), functions().count());
        let rows: BTreeSet<_> = operators().filter_map(operator_row).collect();
        assert_eq!(rows.len(), operators().count());
    }

    #[test]
    fn a_command_is_the_longest_that_the_arguments_begin_with() {
        assert_eq!(command(&["keys", "rotate", "signature", "--dry-run"]), Some("keys rotate signature"));
        assert_eq!(command(&["keys", "rotate", "challenge"]), Some("keys rotate"));
        assert_eq!(command(&["keys"]), None);
    }

    /// A command has one policy, so that what it needs is not spread over several. Builders have one that the
    /// stack makes; what a command of theirs does in tables is beside it.
    #[test]
    fn a_command_has_one_policy() {
        let tables = operator_permissions().filter(|row| row.policy != "builder");
        let policies: BTreeSet<_> = tables.map(|row| (row.command, row.policy)).collect();
        let commands: BTreeSet<_> = policies.iter().map(|(command, _)| command).collect();
        assert_eq!(policies.len(), commands.len(), "{policies:?}");
    }

    #[test]
    fn an_operation_is_its_own_action_unless_it_is_a_transaction() {
        for row in permissions().filter(|row| row.operation != "TransactWriteItems") {
            assert!(row.action.ends_with(&format!(":{}", row.operation)), "{row:?}");
        }
    }
}
