//! The log goes to stderr. Audit records go to stdout, one JSON line each, as they were written to the store.

use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;

use keybroker_common::broker::AUDIT_TARGET;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, LevelFilter, Targets, filter_fn},
    fmt::MakeWriter,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::output::{Flush, Lines};

/// The arguments about the log.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// The lines to log: a level (error, warn, info, debug, trace, off), or target=level pairs, separated by
    /// commas.
    ///
    /// RUST_LOG counts if neither this nor KEYBROKER_LOG is given.
    #[arg(long, global = true, env = "KEYBROKER_LOG", value_name = "FILTER", value_parser = targets)]
    log: Option<Targets>,
    /// The form of the log's lines.
    #[arg(
        long,
        global = true,
        env = "KEYBROKER_LOG_FORMAT",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: Format,
}

/// Reads a filter. A word without `=` has to be a level: misspelt, it would be a target that nothing logs
/// under, and the log would be silent.
fn targets(text: &str) -> Result<Targets, String> {
    // The parser takes a space for a part of a name.
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let text = parts.join(",");
    let level = |part: &str| part.rsplit_once('=').map_or(part, |(_, level)| level).to_owned();
    match parts.into_iter().map(level).find(|level| level.is_empty() || level.parse::<LevelFilter>().is_err())
    {
        Some(level) => Err(format!("{level:?} is no level: error, warn, info, debug, trace, or off")),
        None => text.parse().map_err(|error| format!("{error}")),
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging for the whole process. The caller drops the returned value at the end, which writes the
/// last lines. Only a server prints audit records. Other commands have results of their own on stdout, and by
/// default log only warnings.
pub(crate) fn start(args: &LogArgs, serving: bool) -> anyhow::Result<impl Sized> {
    let default = || by_default(serving);
    let filter = args.log.clone().or_else(from_rust_log).unwrap_or_else(default);
    let audit = serving.then(|| lines(io::stdout(), "stdout")).transpose()?.unzip();
    let (lines, flush) = lines(io::stderr(), "stderr")?;
    let registry = tracing_subscriber::registry().with(audit.0.map(Audit));
    let log = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(io::stderr().is_terminal());
    let filter = filter.and(filter_fn(|metadata| metadata.target() != AUDIT_TARGET));
    // This fails only if logging was started before, and then there is a log.
    let _ = match args.log_format {
        Format::Text => registry.with(log.with_filter(filter)).try_init(),
        Format::Json => registry.with(log.json().with_filter(filter)).try_init(),
    };
    // The order of dropping: the log tells of audit lines that were lost.
    Ok((audit.1, flush))
}

/// The filter if nobody names another. AWS's crates warn of what a command then reports in words of its
/// own: a provider of credentials that has none, an attempt that is repeated.
fn by_default(serving: bool) -> Targets {
    if serving {
        Targets::new().with_default(Level::INFO)
    } else {
        Targets::new().with_default(Level::WARN).with_target("aws_", LevelFilter::OFF)
    }
}

fn lines(out: impl Write + Send + 'static, name: &'static str) -> anyhow::Result<(Lines, Flush)> {
    let tell =
        move |lines| tracing::warn!(lines, "lines were lost: nobody read {name}, or it could not be written");
    Lines::to(out, name, tell).context("starting to log")
}

/// The filter in RUST_LOG. Other programs set it, too, so one that cannot be read is ignored.
fn from_rust_log() -> Option<Targets> {
    std::env::var("RUST_LOG").ok()?.parse().ok()
}

/// Prints the field `record` of audit events, and nothing else. No filter applies to it.
struct Audit<W>(W);

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for Audit<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == AUDIT_TARGET {
            event.record(&mut Record(self.0.make_writer()));
        }
    }
}

struct Record<W>(W);

impl<W: Write> Visit for Record<W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "record" {
            // This is a copy for a reader of stdout: the record itself is in the store.
            let _ = self.0.write_all(format!("{value}\n").as_bytes());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Lines {
        type Writer = Self;

        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn the_clients_of_aws_are_silent_unless_asked() {
        let warns = |targets: &Targets, target| targets.would_enable(target, &Level::WARN);
        let commands = by_default(false);
        assert!(warns(&commands, "keybroker::operator") && !warns(&commands, "aws_config::profile"));
        assert!(!warns(&commands, "aws_smithy_runtime::client") && warns(&by_default(true), "aws_config"));
        assert!(warns(&"warn".parse().unwrap(), "aws_config"), "--log warn asks for them");
    }

    #[test]
    fn a_misspelt_level_silences_no_log() {
        for text in ["", "info", "off,keybroker::serve=info", "aws_config=debug, warn", "TRACE"] {
            assert!(targets(text).is_ok(), "{text}");
        }
        let spaced = targets("aws_config=debug, warn").unwrap();
        assert!(spaced.would_enable("keybroker", &Level::WARN), "{spaced}");
        for (text, level) in
            [("inof", "inof"), ("info,a=", ""), ("a=inof", "inof"), ("info,aws_config", "aws_config")]
        {
            let told = format!("{level:?} is no level: error, warn, info, debug, trace, or off");
            assert_eq!(targets(text).unwrap_err(), told, "{text}");
        }
    }

    #[test]
    fn an_audit_record_is_printed_as_it_is_and_nothing_else() {
        let lines = Lines::default();
        let _guard = tracing_subscriber::registry().with(Audit(lines.clone())).set_default();
        tracing::info!(record = "elsewhere", "log");
        tracing::info!(target: AUDIT_TARGET, other = "x", record = r#"{"id":"1"}"#);
        assert_eq!(*lines.0.lock().unwrap(), b"{\"id\":\"1\"}\n");
    }
}
