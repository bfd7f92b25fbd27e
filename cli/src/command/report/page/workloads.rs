//! Which workloads are bound by what.

use maud::html;

use super::super::registrations::{Registrations, Tie};
use super::{
    Page, Section,
    parts::{Row, command, group, number, plural},
};

pub(super) fn section(page: &Page) -> Section {
    let registrations = page.registrations;
    let ties = registrations.ties.by(|group| group.count);
    let most = ties.iter().map(|(_, group)| group.count).max().unwrap_or_default();
    let list = |filter: &str| command(&page.place.command(&format!("workload list{filter}"), &[]));
    let shared = registrations.sharing.all().count() as u64;
    let body = html! {
        @if registrations.count == 0 {
            p { "The store has no registration, so no guest can attest." }
        }
        @if shared > 0 {
            div.warning {
                p {
                    strong { "Shared measurements. " }
                    (plural(shared, "launch measurement or ID key is", "launch measurements or ID keys are"))
                    " accepted by several ids. A guest with one of them can claim any of its ids and gets "
                    "the secrets. The column SHARED marks them:"
                }
                (list(""))
            }
        }
        @for (index, (tie, found)) in ties.into_iter().enumerate() {
            (Row {
                anchor: format!("tie-{index}"),
                class: if tie.is_some_and(|tie| tie.loose) { "undecided" } else { "released" },
                label: html! {
                    @match tie {
                        Some(tie) => { (proved(tie)) small { "bound by " (tie.bound_by) } },
                        None => "all other combinations",
                    }
                },
                count: found.count,
                most,
                behind: html! { (group(page, found)) (page.all_workloads(&[])) },
            }.markup())
        }
        @for (name, means, found, filter) in [
            ("revoked", "the broker releases nothing for them", &registrations.revoked, " --revoked"),
            ("unreadable", "the broker refuses their guests", &registrations.unread, ""),
        ] {
            @if found.count > 0 {
                (Row {
                    anchor: format!("registrations-{name}"),
                    class: "changed",
                    label: html! { (name) small { (means) } },
                    count: found.count,
                    most: most.max(found.count),
                    behind: html! { (group(page, found)) p.all { "All of them:" } (list(filter)) },
                }.markup())
            }
        }
    };
    Section { anchor: "workloads", name: "Workloads", conclusion: conclusion(registrations), body }
}

fn conclusion(registrations: &Registrations) -> String {
    let ties = registrations.ties.by(|group| group.count);
    let standing: u64 = ties.iter().map(|(_, group)| group.count).sum();
    let loose = ties.iter().filter(|(tie, _)| tie.is_some_and(|tie| tie.loose));
    let loose: u64 = loose.map(|(_, group)| group.count).sum();
    match (standing, loose) {
        (0, _) if registrations.count == 0 => "Nothing is registered".to_owned(),
        (0, _) => "No registration counts".to_owned(),
        (_, 0) => {
            let kinds = plural(ties.len() as u64, "way", "ways");
            format!("{} bound in {kinds}", plural(standing, "workload is", "workloads are"))
        }
        _ => {
            let which = plural(standing, "workload", "workloads");
            format!("Nothing binds {} of {which} to their guests", number(loose))
        }
    }
}

/// Everything that a guest's evidence must show, with a capital letter.
fn proved(tie: &Tie) -> String {
    match tie.proved.as_str() {
        "" => "No requirement: no guest is admitted".to_owned(),
        proved => {
            let (first, rest) = proved.split_at(proved.chars().next().map_or(0, char::len_utf8));
            format!("{}{rest}", first.to_uppercase())
        }
    }
}
