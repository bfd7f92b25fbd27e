//! `infra/permissions.txt`: what each function calls on AWS, and the IAM actions that it needs for that.

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

/// Every row. A malformed line is left out; a test of this table finds it.
pub fn permissions() -> impl Iterator<Item = Permission> {
    lines().filter_map(|line| {
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

/// The lines that should be rows.
fn lines() -> impl Iterator<Item = &'static str> {
    include_str!("../../infra/permissions.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_a_row_and_none_comes_twice() {
        assert_eq!(permissions().count(), lines().count());
        assert_eq!(permissions().collect::<BTreeSet<_>>().len(), lines().count());
    }

    #[test]
    fn an_operation_is_its_own_action_unless_it_is_a_transaction() {
        for row in permissions().filter(|row| row.operation != "TransactWriteItems") {
            assert!(row.action.ends_with(&format!(":{}", row.operation)), "{row:?}");
        }
    }
}
