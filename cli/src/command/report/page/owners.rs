//! The owners of registrations, and the principals who changed something.

use maud::{Markup, html};

use super::super::figures::Principal;
use super::{
    Page, Section,
    parts::{Row, figure, group, number, plural},
};
use crate::table::printable;

pub(super) fn section(page: &Page) -> Section {
    let owners = page.registrations.owners.by(|group| group.count);
    let principals = page.figures.principals.by(|figure| figure.count);
    let of_nobody = owners.iter().find(|(owner, _)| *owner == Some(&Principal::Nobody));
    let conclusion = match (owners.len() as u64, of_nobody) {
        (0, _) => "Nobody owns a registration".to_owned(),
        (_, Some((_, owned))) => {
            let all = plural(page.registrations.count, "registration", "registrations");
            format!("Nobody owns {} of {all}", number(owned.count))
        }
        (1, None) => "One owner has every registration".to_owned(),
        (count, None) => format!("{} owners have the registrations", number(count)),
    };
    let most = owners.iter().map(|(_, group)| group.count).max().unwrap_or_default();
    let most_changes = principals.iter().map(|(_, figure)| figure.count).max().unwrap_or_default();
    let body = html! {
        @for (index, (owner, owned)) in owners.into_iter().enumerate() {
            (Row {
                anchor: format!("owner-{index}"),
                class: "released",
                label: name(owner),
                count: owned.count,
                most,
                behind: html! {
                    (group(page, owned))
                    (page.all_workloads(&filter("owner", owner)))
                },
            }.markup())
        }
        h3 { (changes(page.changes())) }
        @for (index, (principal, changed)) in principals.into_iter().enumerate() {
            (Row {
                anchor: format!("principal-{index}"),
                class: "changed",
                label: name(principal),
                count: changed.count,
                most: most_changes,
                behind: html! {
                    (figure(changed))
                    (page.all_records(&filter("principal", principal)))
                },
            }.markup())
        }
    };
    Section { anchor: "owners", name: "Owners", conclusion, body }
}

fn changes(count: u64) -> String {
    match count {
        0 => "In this time nobody registered or changed anything".to_owned(),
        _ => format!("{} in this time, by principal", plural(count, "change", "changes")),
    }
}

/// The filter that leads to what is this principal's, if there is one.
fn filter<'a>(option: &'static str, principal: Option<&'a Principal>) -> Vec<(&'static str, &'a str)> {
    match principal {
        Some(Principal::Named(name)) => vec![(option, name)],
        _ => Vec::new(),
    }
}

fn name(principal: Option<&Principal>) -> Markup {
    html! {
        @match principal {
            Some(Principal::Named(name)) => code { (printable(name)) },
            Some(Principal::Tokens) => { "Build tokens" small { "one for each build" } },
            Some(Principal::Nobody) => { "Nobody" small { "registered without a credential" } },
            None => "all others",
        }
    }
}
