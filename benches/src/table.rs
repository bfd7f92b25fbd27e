//! A table in Markdown.

use crate::figure::Runs;

/// The medians of what was measured, one column for each subject; of two, the ratio, too.
pub(crate) fn medians(names: &[&str], results: &[Runs]) -> String {
    let mut table = format!("| figure | clients | unit | {} |", names.join(" | "));
    if let [first, second] = names {
        table += &format!(" {second} / {first} |");
    }
    table += "\n|---|--:|---|";
    table += &"--:|".repeat(results.len() + usize::from(results.len() == 2));
    table.push('\n');
    for (metric, clients) in results.first().map(Runs::names).unwrap_or_default() {
        let values: Vec<Option<f64>> = results.iter().map(|runs| runs.median(metric, clients)).collect();
        table += &format!("| {} | {clients} | {} |", metric.name(), metric.unit());
        for value in &values {
            table += &format!(" {} |", value.map_or("–".to_owned(), digits));
        }
        if let [Some(first), Some(second)] = values.as_slice() {
            table += &format!(" {} |", if *first > 0.0 { digits(second / first) } else { "–".to_owned() });
        }
        table.push('\n');
    }
    table
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Figure, Metric};

    #[test]
    fn two_subjects_have_a_ratio() {
        let runs = |value| Runs(vec![vec![Figure::new(Metric::BootP50, 64, value)]]);
        let table = medians(&["before", "after"], &[runs(139.2), runs(23.21)]);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows[0], "| figure | clients | unit | before | after | after / before |");
        assert_eq!(rows[1], "|---|--:|---|--:|--:|--:|");
        assert_eq!(rows[2], "| registration with boot, p50 | 64 | ms | 139 | 23.2 | 0.167 |");
    }
}
