//! From a document to the secrets that it names: challenge, report, request, answer.
//!
//! | the broker says | what follows |
//! |---|---|
//! | the secrets, under its signature | done |
//! | a refusal (a problem with a status of 4xx) | final, at once: exit 3 |
//! | 401: the challenge counts no more | the next URL; later this one again, with a new challenge |
//! | 429 or 503, with Retry-After | the next URL; this one again after that time |
//! | another 5xx, or nothing in time | the next URL; after the last one a pause, then the first again |
//! | anything that no broker says, or an answer under no key of the document | this URL is asked no more |
//!
//! Every attempt takes a new challenge, a new key and a new report: nothing is sent twice. All of it ends
//! when [`Limits::total`] is over: exit 4.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use keybroker_initdata::{BrokerKey, KeyId};
use keybroker_native::{
    AnswerError, Evidence, SealError, Secret, Suite,
    client::{CHALLENGE_BODY, CHALLENGE_PATH, Challenge, Pending, Problem, RELEASE_PATH},
};

use crate::{
    console::Console,
    document::Found,
    exit::Exit,
    look::{LookError, look},
    report::{ReportError, ReportSource},
    time::Time,
    transport::{Reply, Transport, TransportError},
};

/// How many characters of a text from the network the console shows.
const MAX_WORDS: usize = 200;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All attempts together.
    pub total: Duration,
    /// One request. The broker may itself wait for AMD.
    pub request: Duration,
    /// The first pause after all URLs; it doubles from round to round.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(300),
            request: Duration::from_secs(40),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(15),
        }
    }
}

/// Why there are no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The broker refused. To ask again changes nothing.
    #[error("refused: {}", Refusal(.words, .decision.as_deref()))]
    Refused {
        /// Which broker.
        url: String,
        /// The status.
        status: u16,
        /// The broker's words.
        words: String,
        /// The id of its decision, if it made one.
        decision: Option<String>,
    },
    /// Nothing usable came in time. The reason is the last one of the URL that was asked last.
    #[error("not reached: {url}: {reason}")]
    NotReached {
        /// Which broker.
        url: String,
        /// Why.
        reason: Unanswered,
    },
    /// The time of every broker key of the document is over, by this machine's clock.
    #[error(
        "not trusted here: by this machine's clock ({0}), the time of every broker key of the document is over"
    )]
    NoKey(Timestamp),
    /// The library could not make a key.
    #[error("not done: {0}")]
    Key(SealError),
}

impl ReleaseError {
    /// The code to end with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } => Exit::Refused,
            Self::NotReached { .. } => Exit::NotReached,
            Self::NoKey(_) => Exit::NotTrusted,
            Self::Key(_) => Exit::NotDone,
        }
    }
}

/// Why a guest does not ask, or gets nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The guest's own report does not fit.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The broker gave nothing.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

/// Why one attempt at one URL gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The broker says that it cannot answer now.
    #[error("the broker answered {0}")]
    Status(u16),
    /// The broker says so, and when it wants to be asked again.
    #[error("the broker answered {status} and asks for {} s of patience", .wait.as_secs())]
    Patience {
        /// The status.
        status: u16,
        /// Retry-After.
        wait: Duration,
    },
    /// Something answered that is no broker.
    #[error("what answers there is no broker: {0}")]
    NoBroker(u16),
    /// An answer that is not the document's broker's.
    #[error("{0}")]
    Answer(#[from] AnswerError),
}

impl Unanswered {
    /// Whether the URL can give another answer later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Transport(error) => !matches!(error, TransportError::Url | TransportError::TooLong),
            Self::Status(_) | Self::Patience { .. } => true,
            Self::NoBroker(_) | Self::Answer(_) => false,
        }
    }
}

/// The words of a refusal, with what an operator can do.
struct Refusal<'a>(&'a str, Option<&'a str>);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(words, decision) = self;
        write!(f, "the broker refused this guest: {words}")?;
        match decision {
            Some(id) => write!(f, " (decision {id}; ask the operator for: keybroker audit {id})"),
            None => Ok(()),
        }
    }
}

/// Secrets, with the names under which they were asked for.
pub struct Released {
    /// The id of the broker's decision.
    pub decision: String,
    secrets: Vec<(String, Secret)>,
}

impl Released {
    /// The secret of that name.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|(known, _)| known == name).map(|(_, secret)| secret)
    }
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Released").field("decision", &self.decision).finish_non_exhaustive()
    }
}

/// Everything that a request needs.
pub struct Asker<'a> {
    /// The document, and where it was found.
    pub found: &'a Found,
    /// Where reports come from.
    pub source: &'a dyn ReportSource,
    /// The way to brokers.
    pub transport: &'a dyn Transport,
    /// Clock and pauses.
    pub time: &'a dyn Time,
    /// Where it says that it waits.
    pub console: &'a dyn Console,
    /// How long it waits.
    pub limits: Limits,
}

/// A broker of the document.
struct Target<'a> {
    url: &'a str,
    /// When it may be asked again.
    not_before: Duration,
    /// Why it gave nothing the last time.
    reason: Option<Unanswered>,
}

fn last_reason<'a>(targets: &[Target<'a>]) -> Option<(&'a str, Unanswered)> {
    targets.iter().rev().find_map(|target| Some((target.url, target.reason.clone()?)))
}

/// The end of one attempt that gave nothing.
enum Stop {
    /// This URL gives nothing, for now or for good.
    Url(Unanswered),
    /// This URL wants to be asked again after a while.
    Wait(u16, Duration),
    /// Nothing more is to be asked.
    Final(AskError),
}

impl Asker<'_> {
    /// Looks at the guest's own report, before anybody is asked.
    pub fn look(&self) -> Result<(), AskError> {
        let mut report_data = [0; 64];
        for (byte, label) in report_data.iter_mut().zip(b"keybroker-guest: the guest's look at itself") {
            *byte = *label;
        }
        let evidence = self.source.report(&report_data)?;
        if let Some(error) = evidence.table_error {
            self.console.line(format_args!("warning: {error}; the broker has to ask AMD for certificates"));
        }
        look(evidence, &report_data, self.found)?;
        Ok(())
    }

    /// Asks the brokers of the document for `secrets`, one after the other, until one gives them, one
    /// refuses, or the time is over.
    pub fn release(&self, secrets: &[String]) -> Result<Released, AskError> {
        let deadline = self.time.elapsed() + self.limits.total;
        let brokers = self.found.document.keybroker().brokers.iter();
        let mut targets: Vec<Target<'_>> =
            brokers.map(|url| Target { url, not_before: Duration::ZERO, reason: None }).collect();
        let mut pause = self.limits.pause;
        loop {
            let mut last = None;
            for target in &mut targets {
                if target.not_before > self.time.elapsed() {
                    continue;
                }
                if self.left(deadline).is_zero() {
                    break;
                }
                let (reason, wait) = match self.attempt(target.url, secrets, deadline) {
                    Ok(released) => return Ok(released),
                    Err(Stop::Final(error)) => return Err(error),
                    Err(Stop::Wait(status, wait)) => (Unanswered::Patience { status, wait }, wait),
                    Err(Stop::Url(reason)) => (reason, Duration::ZERO),
                };
                if !reason.may_pass() {
                    self.console.line(format_args!("{} is asked no more: {reason}", target.url));
                }
                target.not_before = self.time.elapsed().saturating_add(wait);
                last = Some((target.url, reason.clone()));
                target.reason = Some(reason);
            }
            // A document names a broker, so one was asked.
            let unknown = || ("no broker", TransportError::Url.into());
            let (url, reason) = last.or_else(|| last_reason(&targets)).unwrap_or_else(unknown);
            targets.retain(|target| target.reason.as_ref().is_none_or(Unanswered::may_pass));
            let now = self.time.elapsed();
            let wait = match targets.iter().map(|target| target.not_before.saturating_sub(now)).min() {
                Some(wait) if wait.is_zero() => pause,
                // Every broker that may still answer asked for patience.
                Some(wait) => wait,
                None => return Err(ReleaseError::NotReached { url: url.to_owned(), reason }.into()),
            };
            if wait >= self.left(deadline) {
                return Err(ReleaseError::NotReached { url: url.to_owned(), reason }.into());
            }
            if wait == pause {
                pause = (pause * 2).min(self.limits.longest_pause);
            }
            let left = self.left(deadline).as_secs();
            self.console.line(format_args!(
                "waiting: {url}: {reason} (asks again in {} s, gives up in {left} s)",
                wait.as_secs_f32().ceil()
            ));
            self.time.sleep(wait);
        }
    }

    fn left(&self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.time.elapsed())
    }

    fn attempt(&self, url: &str, secrets: &[String], deadline: Duration) -> Result<Released, Stop> {
        // The clock may be set while the guest waits.
        let (settings, now) = (self.found.document.keybroker(), self.time.now());
        let keys: Vec<&BrokerKey> = settings.keys_at(now).collect();
        if keys.is_empty() {
            return Err(Stop::Final(ReleaseError::NoKey(now).into()));
        }
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id()).collect();

        let base = url.trim_end_matches('/');
        let reply = self.post(&format!("{base}{CHALLENGE_PATH}"), CHALLENGE_BODY, deadline)?;
        let body = answered(url, reply)?;
        let challenge = Challenge::from_json(&body).map_err(|error| Stop::Url(error.into()))?;
        let pending = Pending::new(
            Suite::P384,
            &challenge,
            &settings.workload,
            secrets.to_vec(),
            self.found.digest.clone(),
            ids,
        )
        .map_err(|error| Stop::Final(ReleaseError::Key(error).into()))?;
        let evidence = self.evidence(&pending.report_data()).map_err(Stop::Final)?;
        let reply = self.post(&format!("{base}{RELEASE_PATH}"), &pending.request(&evidence), deadline)?;
        let body = answered(url, reply)?;
        let opened = pending.open(&body, &keys).map_err(|error| Stop::Url(error.into()))?;
        let secrets = secrets.iter().cloned().zip(opened.secrets).collect();
        Ok(Released { decision: opened.decision, secrets })
    }

    /// The evidence for a request. The guest looks at this report, too: the host may have changed since.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, AskError> {
        let evidence = self.source.report(report_data)?;
        Ok(look(evidence, report_data, self.found)?.into())
    }

    fn post(&self, url: &str, body: &[u8], deadline: Duration) -> Result<Reply, Stop> {
        let within = self.left(deadline).min(self.limits.request);
        self.transport.post(url, body, within).map_err(|error| Stop::Url(error.into()))
    }
}

/// The body of an answer of 200. Nobody signs a refusal: somebody in the network can refuse in the broker's
/// place, and gains no secret by it.
fn answered(url: &str, reply: Reply) -> Result<Vec<u8>, Stop> {
    let Reply { status, retry_after, body } = reply;
    match (status, retry_after) {
        (200, _) => Ok(body),
        (429 | 503, Some(wait)) => Err(Stop::Wait(status, wait.max(Duration::from_secs(1)))),
        // 401 refuses no guest: the challenge was used up, or its time or its key is over.
        (401 | 408 | 429 | 500..=599, _) => Err(Stop::Url(Unanswered::Status(status))),
        (400..=499, _) => match Problem::from_json(&body) {
            Ok(problem) if problem.status == status => {
                let Problem { title, detail, decision, .. } = problem;
                let words = if detail.is_empty() { title } else { detail };
                let words = words.chars().take(MAX_WORDS).collect();
                let decision = decision.filter(|id| is_id(id));
                let refused = ReleaseError::Refused { url: url.to_owned(), status, words, decision };
                Err(Stop::Final(refused.into()))
            }
            _ => Err(Stop::Url(Unanswered::NoBroker(status))),
        },
        _ => Err(Stop::Url(Unanswered::NoBroker(status))),
    }
}

/// Whether a text is an id of a decision, a UUID: a person is told to type it.
fn is_id(text: &str) -> bool {
    let digit = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(digit)
}
