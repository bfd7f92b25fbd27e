//! Many values in a message.

use std::fmt;

/// Values as a person reads them: the first few of many.
pub fn list<T: fmt::Display>(values: &[T]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = values.iter().take(SHOWN).map(T::to_string).collect();
    match values.len() {
        0 => "none".to_owned(),
        all if all > SHOWN => format!("one of {all}: {}, …", shown.join(", ")),
        _ => shown.join(", "),
    }
}
