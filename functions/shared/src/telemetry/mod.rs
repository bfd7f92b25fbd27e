//! The log: one JSON object per line on stdout, which CloudWatch keeps. The decision, counts and times of a
//! request are one line of it, in the embedded metric format, of which CloudWatch makes metrics.
//!
//! | metric | dimension | counts |
//! |---|---|---|
//! | `Registered` | | registrations, new or replaced |
//! | `Attested` | | guests that attested |
//! | `Released` | | secrets released |
//! | `GuestsBehind` | | guests that attested from a platform that is behind AMD's bulletins |
//! | `Refused` | `Cause`: the check that failed | refusals, releases that were withheld among them |
//! | `Unavailable` | `Cause`: what was out of reach | 503s |
//! | `KeyUnavailable` | | 503s because KMS or its key was out of reach, or the broker's own keys |
//! | `KdsMiss` | | chips whose certificate was not at hand, and was asked for |
//! | `KdsThrottled` | | 429s of AMD's KDS |
//! | `Unauthenticated` | | registrations without a credential that counts, on record or not |
//! | `NoSession` | | guests' requests under no session that counts, on record or not |
//! | `Panicked` | | requests that met an error of the program, answered with 500 |
//! | `ListAge` | | days since the revocation list in use was last fetched from AMD |
//! | `KdsLatency`, `VerifyLatency`, `TransactionLatency`, `WrapLatency`, `UnwrapLatency` | | milliseconds of a stage |
//!
//! A metric with a dimension is also kept without it. All are in a namespace of the deployment's own: see
//! [`namespace`]. An instance prints an age, and a time of each stage, once in [`line::PAUSE`] at most.
//!
//! A line names the request as API Gateway's log does, and the trace, if the request has one: see [`trace`].

mod line;
#[cfg(test)]
mod tests;
mod trace;

use std::{
    env,
    io::{self, Write},
};

use jiff::Timestamp;
use keybroker_common::{audit::AuditRecord, broker::AUDIT_TARGET, function::Function, metrics};
use tracing::{
    Event, Instrument as _, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, LevelFilter, Targets, filter_fn},
    fmt::MakeWriter,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use line::{Gathered, Pauses};
use trace::{Daemon, Place, Traced};

/// Target of the spans of which each is a request.
const REQUEST: &str = "keybroker::request";
/// The targets that are not for the log as it stands.
const OURS: [&str; 3] = [AUDIT_TARGET, metrics::TARGET, REQUEST];

/// Starts the log of this function, for the whole process. Its level is the one that Lambda's own setting
/// names; INFO without it.
pub(crate) fn start(function: Function) {
    let level = env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let level = LevelFilter::from_level(level.unwrap_or(Level::INFO));
    let log = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
    let log = log.with_filter(level.and(filter_fn(|metadata| !OURS.contains(&metadata.target()))));
    let name = env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let daemon = Daemon::at(&env::var(trace::DAEMON).unwrap_or_default());
    let registry =
        tracing_subscriber::registry().with(metrics(namespace(&name, function), io::stdout, daemon));
    // Fails only where logging was started before, and then there is a log already.
    let _ = registry.with(log).try_init();
}

/// The names that AWS gave a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// As API Gateway's log has it, and its answer in `apigw-requestid`.
    pub(crate) request: Option<String>,
    /// The runtime's header of X-Ray.
    pub(crate) trace: Option<String>,
}

/// Does `work`, which answers one request: what it decides, counts and measures is one line.
///
/// All of it counts that is done within this request's span, also what goes on after its client went away.
pub(crate) async fn request<T>(names: Names, work: impl Future<Output = T>) -> T {
    let Names { request, trace } = names;
    work.instrument(tracing::info_span!(target: REQUEST, "request", request, trace)).await
}

/// The CloudWatch namespace for the metrics of a function that Lambda calls `name`: the part of the name
/// before `-register`, `-auth` or `-attest`. Two deployments in an account cannot have functions of the same
/// name, so they do not set off each other's alarms. `keybroker` for a function that is called otherwise.
fn namespace(name: &str, function: Function) -> &str {
    let suffix = match function {
        Function::Register => "-register",
        Function::Auth => "-auth",
        Function::Attest => "-attest",
        Function::Any => "",
    };
    name.strip_suffix(suffix).filter(|prefix| !prefix.is_empty()).unwrap_or("keybroker")
}

/// Prints decisions and measurements, whatever the log's level, and tells `daemon` of sampled requests.
fn metrics<S, W>(namespace: &str, out: W, daemon: Daemon) -> impl Layer<S> + use<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let measured = Targets::new().with_targets(OURS.map(|target| (target, Level::DEBUG)));
    Metrics { namespace: namespace.to_owned(), out, pauses: Pauses::default(), daemon }.with_filter(measured)
}

struct Metrics<W> {
    namespace: String,
    out: W,
    pauses: Pauses,
    daemon: Daemon,
}

impl<W: for<'w> MakeWriter<'w>> Metrics<W> {
    fn print(&self, gathered: &Gathered) {
        if let Some(line) = gathered.line(&self.namespace, Timestamp::now()) {
            // The record is in its table; that nobody reads along must not keep the broker from its work.
            let _ = self.out.make_writer().write_all(format!("{line}\n").as_bytes());
        }
    }
}

impl<S, W> Layer<S> for Metrics<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let place = fields.trace.as_deref().and_then(Place::sampled);
        let mut extensions = span.extensions_mut();
        extensions.insert(Gathered::of(fields.request, place.as_ref().map(|place| place.root.clone())));
        if let Some(place) = place {
            extensions.insert(Traced::begin(place));
        }
    }

    /// A record is printed at once, with all that its request gathered so far: a process that is ended loses
    /// no more of it than it must. For a request that succeeds or is refused that is all of it.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Some(happened) = fields.happened() else { return };
        let request = context.event_span(event);
        let mut extensions = request.as_ref().map(|span| span.extensions_mut());
        if let Some(traced) = extensions.as_mut().and_then(|extensions| extensions.get_mut::<Traced>()) {
            traced.add(&happened);
        }
        if !happened.is_printed(&self.pauses) {
            return;
        }
        let mut alone = Gathered::default();
        let gathered = extensions.as_mut().and_then(|extensions| extensions.get_mut::<Gathered>());
        let in_request = gathered.is_some();
        let gathered = gathered.unwrap_or(&mut alone);
        gathered.add(happened);
        if gathered.has_record() || !in_request {
            self.print(gathered);
            gathered.forget();
        }
    }

    /// The rest, however the request ended: its span is closed when it is done, when it panicked, and when it
    /// was given up.
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let (gathered, traced) = {
            let mut extensions = span.extensions_mut();
            (extensions.remove::<Gathered>().unwrap_or_default(), extensions.remove::<Traced>())
        };
        self.print(&gathered);
        if let Some(traced) = traced {
            self.daemon.tell(&traced, gathered.request());
        }
    }
}

/// Something that happened in a request.
enum Happened {
    /// A decision.
    Decided(Box<AuditRecord>),
    /// Something that is counted.
    Counted(String),
    /// A stage took so many milliseconds.
    Took(String, f64),
    /// A revocation list of so many days was used.
    Aged(f64),
}

impl Happened {
    /// Whether it is for a line: a certificate that was at hand is the rule, and an age, or a time of the
    /// same stage, may have been printed just now.
    fn is_printed(&self, pauses: &Pauses) -> bool {
        match self {
            Self::Decided(_) => true,
            Self::Counted(metric) => metric != metrics::Count::KdsHit.name(),
            Self::Took(stage, _) => pauses.is_over(stage),
            Self::Aged(_) => pauses.is_over(metrics::LIST_AGE),
        }
    }
}

/// The fields of an event, or of a request's span, that count here.
#[derive(Default)]
struct Fields {
    request: Option<String>,
    trace: Option<String>,
    record: Option<String>,
    metric: Option<String>,
    stage: Option<String>,
    value: f64,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let slot = match field.name() {
            "request" => &mut self.request,
            "trace" => &mut self.trace,
            "record" => &mut self.record,
            "metric" => &mut self.metric,
            "stage" => &mut self.stage,
            _ => return,
        };
        *slot = Some(value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "value" {
            self.value = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Fields {
    fn happened(self) -> Option<Happened> {
        if let Some(record) = self.record {
            return serde_json::from_str(&record).ok().map(Happened::Decided);
        }
        let metric = self.metric?;
        Some(match self.stage {
            Some(stage) => Happened::Took(stage, self.value),
            None if metric == metrics::LIST_AGE => Happened::Aged(self.value),
            None => Happened::Counted(metric),
        })
    }
}
