//! The TCB levels of guests that attested, beside AMD's bulletins.

use maud::{Markup, html};

use super::super::{
    figures::Guests,
    level::{Level, Standing},
};
use super::{
    Page, Section,
    parts::{Row, command, figure, number, plural},
};

pub(super) fn section(page: &Page) -> Section {
    let levels = page.figures.levels.by(|guests| guests.figure.count);
    let most = levels.iter().map(|(_, guests)| guests.figure.count).max().unwrap_or_default();
    let conclusion = conclusion(&levels);
    let body = html! {
        @if levels.is_empty() {
            p { "In this time no guest attested." }
        } @else {
            p {
                "Each level has the verdict by the table of AMD's bulletins that the broker had when the guest "
                "attested. A verdict refuses nobody: floors do."
            }
        }
        @for (index, (level, guests)) in levels.iter().enumerate() {
            (Row {
                anchor: format!("level-{index}"),
                class: match level.map(|level| level.standing) {
                    Some(Standing::Behind) => "undecided",
                    Some(Standing::NotBehind) => "released",
                    Some(Standing::Unjudged) | None => "changed",
                },
                label: label(*level, guests),
                count: guests.figure.count,
                most,
                behind: html! { (figure(&guests.figure)) (page.all_records(&[])) },
            }.markup())
        }
        p.all { "The same with the committed levels, and the table of bulletins that this program has:" }
        (command(&page.audit_by("audit --tcb")))
        (command(&page.place.command("tcb list", &[])))
    };
    Section { anchor: "levels", name: "TCB levels", conclusion, body }
}

fn conclusion(levels: &[(Option<&Level>, &Guests)]) -> String {
    let standing = |wanted| {
        let of = levels.iter().filter(|(level, _)| level.is_some_and(|level| level.standing == wanted));
        of.map(|(_, guests)| guests.figure.count).sum::<u64>()
    };
    let all: u64 = levels.iter().map(|(_, guests)| guests.figure.count).sum();
    let (behind, judged) = (standing(Standing::Behind), all - standing(Standing::Unjudged));
    let attestations = plural(all, "attestation", "attestations");
    match (all, behind, judged) {
        (0, ..) => "No guest attested".to_owned(),
        (_, 1.., _) => {
            let were = if behind == 1 { "was" } else { "were" };
            format!(
                "{} of {attestations} {were} on a platform that is behind AMD's bulletins",
                number(behind)
            )
        }
        (_, 0, 0) => format!("No bulletin is known to judge the platforms of {attestations}"),
        (_, 0, _) if judged == all => "No guest attested on a platform that is known to be behind".to_owned(),
        (_, 0, _) => format!("Bulletins judge the platforms of {} of {attestations}", number(judged)),
    }
}

fn label(level: Option<&Level>, guests: &Guests) -> Markup {
    html! {
        @match level {
            Some(level) => {
                (level.platform) " " code { (level.reported) }
                small {
                    @if level.verdict.is_empty() { "not judged" } @else { (level.verdict) }
                    "; on " (plural(guests.chips() as u64, "chip", "chips"))
                }
            },
            None => "all other levels",
        }
    }
}
