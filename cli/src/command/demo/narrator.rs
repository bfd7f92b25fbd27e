//! The narrator: it tells the story to people line by line, or to programs as one document.

use std::{
    io::{self, Write as _},
    time::Instant,
};

use anstyle::{AnsiColor, Style};
use keybroker_common::{audit::AuditRecord, ids::AuditId};
use serde::Serialize;

use super::attack::Attack;

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Story {
    /// Version of this form.
    schema: u8,
    /// Whether everything went as told.
    ok: bool,
    passphrase_arrived: bool,
    /// Whether a guest with other code and the same launch measurement got the passphrase, too: nothing else
    /// binds the demo's workload.
    other_guest_let_in: bool,
    steps: Vec<Step>,
    attacks: Vec<RefusedAttack>,
}

#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    milliseconds: f64,
    what: String,
    checked: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RefusedAttack {
    attack: &'static str,
    milliseconds: f64,
    check: String,
    cause: String,
    audit_id: AuditId,
}

/// Tells the story as it happens.
pub(super) struct Narrator {
    json: bool,
    story: Story,
}

fn milliseconds(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1e5).round() / 100.0
}

const STEP: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();
const REFUSED: Style = AnsiColor::Yellow.on_default().bold();

impl Narrator {
    pub(super) fn new(json: bool) -> Self {
        let story = Story {
            schema: 1,
            ok: false,
            passphrase_arrived: false,
            other_guest_let_in: false,
            steps: Vec::new(),
            attacks: Vec::new(),
        };
        Self { json, story }
    }

    /// Begins a part of the story.
    pub(super) fn title(&self, title: &str) -> anyhow::Result<()> {
        self.say(|out| writeln!(out, "\n{:#}{title}", Style::new().bold()))
    }

    /// Tells of a step that went well.
    pub(super) fn step(
        &mut self,
        step: &'static str,
        start: Instant,
        what: String,
        checked: &[impl ToString],
    ) -> anyhow::Result<()> {
        let milliseconds = milliseconds(start);
        let checked: Vec<String> = checked.iter().map(ToString::to_string).collect();
        self.say(|out| {
            writeln!(out, "  {STEP}{step:<9}{STEP:#}{milliseconds:>9.2} ms  {what}")?;
            checked.iter().try_for_each(|line| writeln!(out, "{:25}{DIM}{line}{DIM:#}", ""))
        })?;
        self.story.steps.push(Step { step, milliseconds, what, checked });
        Ok(())
    }

    /// Tells of an attack that was refused with this record.
    pub(super) fn attack(
        &mut self,
        attack: &Attack,
        start: Instant,
        record: &AuditRecord,
    ) -> anyhow::Result<()> {
        let milliseconds = milliseconds(start);
        let (check, cause) = record
            .failed
            .as_ref()
            .map(|failed| (failed.check.clone(), failed.cause.clone()))
            .unwrap_or_default();
        self.say(|out| {
            writeln!(out, "  {REFUSED}refused{REFUSED:#}  {milliseconds:>9.2} ms  {}", attack.name())?;
            writeln!(out, "{:25}{DIM}{check}: {cause}{DIM:#}", "")
        })?;
        let refusal =
            RefusedAttack { attack: attack.name(), milliseconds, check, cause, audit_id: record.id };
        self.story.attacks.push(refusal);
        Ok(())
    }

    /// Notes that the guest has the passphrase.
    pub(super) fn passphrase_arrived(&mut self) {
        self.story.passphrase_arrived = true;
    }

    /// Notes that another guest with the same launch measurement has it, too.
    pub(super) fn let_in(&mut self) {
        self.story.other_guest_let_in = true;
    }

    /// Ends the story, and says whether everything went as told.
    pub(super) fn finish(mut self) -> anyhow::Result<bool> {
        let Story { passphrase_arrived, other_guest_let_in, ref attacks, .. } = self.story;
        self.story.ok = passphrase_arrived && other_guest_let_in && attacks.len() == Attack::ALL.len();
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&self.story)?)?;
        }
        let refused = self.story.attacks.len();
        self.say(|out| {
            writeln!(
                out,
                "\nThe broker released the passphrase to guests with the registered launch measurement and to \
                 nobody else, and refused {refused} attacks."
            )
        })?;
        Ok(self.story.ok)
    }

    fn say(&self, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> anyhow::Result<()> {
        if !self.json {
            let mut out = anstream::stdout().lock();
            write(&mut out)?;
            out.flush()?;
        }
        Ok(())
    }
}
