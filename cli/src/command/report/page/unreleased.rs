//! Registrations as which no guest ever attested.

use maud::html;

use super::{
    Page, Section,
    parts::{Row, command, group, number, plural},
};

pub(super) fn section(page: &Page) -> Section {
    let (all, unreleased) = (page.registrations.count, &page.registrations.unreleased);
    let conclusion = match (all, unreleased.count) {
        (0, _) => "Nothing waits for its first guest".to_owned(),
        (_, 0) => "Every registration has had a guest".to_owned(),
        (_, count) => {
            let which = plural(all, "registration", "registrations");
            format!("No guest ever attested as {} of {which}", number(count))
        }
    };
    let body = html! {
        @if unreleased.count == 0 {
            p { "No failed build left anything behind." }
        } @else {
            p {
                "A build that failed leaves such a registration, and so does an image that nobody has started."
            }
            (Row {
                anchor: "never-released".to_owned(),
                class: "changed",
                label: html! { "Never released" },
                count: unreleased.count,
                most: all,
                behind: html! {
                    (group(page, unreleased))
                    p.all { "All of them:" }
                    (command(&page.place.command("workload list --never-released", &[])))
                    p.all { "To see which of them `workload delete` would take, after seven days:" }
                    (command(&page.place.command(
                        "workload delete --never-released --older-than 7d --dry-run",
                        &[],
                    )))
                },
            }.markup())
        }
    };
    Section { anchor: "unreleased", name: "Never released", conclusion, body }
}
