//! The age of AMD's revocation lists in the store.

use maud::html;

use super::{
    Page, Section,
    parts::{command, minute, plural, prose},
};
use crate::{
    endorsement_row::{self, EndorsementRow, RowKind, RowState},
    table::printable,
};

const NONE: &str = "The broker fetches a product's list when the first guest on such a chip comes. To bring one \
    from elsewhere: `keybroker certificates import FILE`.";

pub(super) fn section(page: &Page) -> Section {
    let body = html! {
        @if page.lists.is_empty() {
            p { (prose(&page.place.advice(NONE))) }
        } @else {
            table {
                thead { tr {
                    th scope="col" { "List" } th scope="col" { "Issued" }
                    th.num scope="col" { "Age" } th scope="col" { "State" }
                } }
                tbody { @for list in page.lists {
                    tr {
                        th scope="row" { (name(list)) }
                        @match list.updates {
                            Some((issued, next)) => {
                                td { (minute(issued)) small { "next " (minute(next)) } }
                                td.num { (endorsement_row::days(page.made, issued)) }
                            },
                            None => { td { "unknown" } td.num { "unknown" } },
                        }
                        td { (state(list)) }
                    }
                } }
            }
        }
        (command(&page.place.command("certificates list", &[])))
    };
    Section { anchor: "lists", name: "Revocation lists", conclusion: conclusion(page), body }
}

fn conclusion(page: &Page) -> String {
    let all = page.lists.len() as u64;
    let unusable = page.lists.iter().filter(|list| list.state != RowState::Ok).count() as u64;
    let oldest = page.lists.iter().filter_map(|list| list.updates).map(|(issued, _)| issued).min();
    match (unusable, oldest) {
        _ if all == 0 => "The store has no revocation list".to_owned(),
        (0, Some(oldest)) => {
            format!(
                "Every revocation list counts; the oldest is {} old",
                endorsement_row::days(page.made, oldest)
            )
        }
        (0, None) => "Every revocation list counts".to_owned(),
        _ => format!("{unusable} of {} cannot be used", plural(all, "revocation list", "revocation lists")),
    }
}

fn name(list: &EndorsementRow) -> String {
    match &list.kind {
        RowKind::RevocationList(product, kind) => format!("{product} {kind}"),
        _ => printable(&list.key),
    }
}

fn state(list: &EndorsementRow) -> String {
    match (&list.state, &list.cause) {
        (RowState::Ok, _) => "the broker would use it".to_owned(),
        (_, cause) => format!("unusable: {}", printable(cause.as_deref().unwrap_or("nothing says why"))),
    }
}
