//! What is forbidden, and where.

use regorus::unstable::Span;

use super::forbidden::Forbidden;
use crate::text::Position;

pub(crate) type Refusal = (Position, Forbidden);
/// What looking at a part of a policy comes to.
pub(crate) type Walk = Result<(), Refusal>;

/// Where a span begins.
pub(super) fn at(span: &Span) -> Position {
    Position { line: span.line, column: span.col }
}
