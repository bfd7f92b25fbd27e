//! A refusal: the forbidden thing, and its place.

use regorus::unstable::Span;

use super::forbidden::Forbidden;
use crate::text::Position;

pub(crate) type Refusal = (Position, Forbidden);
/// The outcome of looking at a part of a policy.
pub(crate) type Walk = Result<(), Refusal>;

/// Where a span begins.
pub(super) fn at(span: &Span) -> Position {
    Position { line: span.line, column: span.col }
}
