//! The TCB levels of guests whose reports were verified.

use maud::html;

use super::{
    Page, Section,
    parts::{Row, figure, number, plural},
};

pub(super) fn section(page: &Page) -> Section {
    let levels = page.figures.levels.by(|guests| guests.figure.count);
    let most = levels.iter().map(|(_, guests)| guests.figure.count).max().unwrap_or_default();
    let count = levels.len() as u64;
    let conclusion = match count {
        0 => "No report was verified".to_owned(),
        1 => "All guests were at one TCB level".to_owned(),
        _ => format!("Guests were at {} TCB levels", number(count)),
    };
    let body = html! {
        @if levels.is_empty() {
            p { "In this time no guest brought a report that AMD's key had signed." }
        }
        @for (index, (level, guests)) in levels.into_iter().enumerate() {
            (Row {
                anchor: format!("level-{index}"),
                class: "released",
                label: html! {
                    @match level {
                        Some(level) => { (level.platform) " " code { (level.tcb) } },
                        None => "all other levels",
                    }
                    small { "on " (plural(guests.chips() as u64, "chip", "chips")) }
                },
                count: guests.figure.count,
                most,
                behind: html! { (figure(&guests.figure)) (page.all_records(&[])) },
            }.markup())
        }
        p {
            "The records of this store carry no verdict by AMD's bulletins. Where they do, this section says for "
            "each level whether it is behind, and behind which bulletin."
        }
    };
    Section { anchor: "levels", name: "TCB levels", conclusion, body }
}
