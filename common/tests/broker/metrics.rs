//! The measurements of the broker, and their moments.

use std::{
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
};

use keybroker_common::{
    admission::Admission,
    appraisal::Fleet,
    broker::Error,
    metrics::{Count, LATENCY, LIST_AGE, Stage, TARGET},
    platform::{BySilicon, PlatformDemands},
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_simulator::{
    kds::{Behaviour, Kind},
    pki::Chip,
};
use keybroker_testing::{
    announced,
    faulty::{FaultyStore, Method, When},
    guest::{KEY, evidence},
    world::{Broker, PASSPHRASE, World, request, stranger},
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt},
};

/// A metric, its stage if it has one, and its value.
type Measurement = (String, Option<String>, f64);

/// Gathers the measurements of one thread, of which there is one for each test.
#[derive(Debug, Clone)]
struct Gathered {
    thread: ThreadId,
    measurements: Arc<Mutex<Vec<Measurement>>>,
}

impl<S: Subscriber> Layer<S> for Gathered {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if thread::current().id() == self.thread {
            let mut measurement = Visited::default();
            event.record(&mut measurement);
            self.measurements.lock().unwrap().push(measurement.0);
        }
    }
}

#[derive(Default)]
struct Visited(Measurement);

impl Visit for Visited {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "metric" => self.0.0 = value.to_owned(),
            "stage" => self.0.1 = Some(value.to_owned()),
            other => panic!("{other}"),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        assert_eq!(field.name(), "value");
        self.0.2 = value;
    }

    fn record_debug(&mut self, field: &Field, _: &dyn std::fmt::Debug) {
        panic!("{field}");
    }
}

impl Gathered {
    /// Gathers the measurements of the calling thread, until the guard is dropped.
    fn here() -> (Self, DefaultGuard) {
        let gathered = Self { thread: thread::current().id(), measurements: Arc::default() };
        let measured = Targets::new().with_target(TARGET, LevelFilter::DEBUG);
        let subscriber = Registry::default().with(gathered.clone().with_filter(measured));
        (gathered, announced::hear(subscriber))
    }

    /// The measurements since the last call, in order.
    fn taken(&self) -> Vec<String> {
        let taken = std::mem::take(&mut *self.measurements.lock().unwrap());
        let name = |(metric, stage, value): Measurement| match stage {
            Some(stage) => {
                assert_eq!(metric, LATENCY);
                // Milliseconds: of nothing here does it take minutes.
                assert!((0.0..60_000.0).contains(&value), "{stage}: {value}");
                stage
            }
            // Days: the lists of the hardware here were fetched at its beginning.
            None if metric == LIST_AGE => {
                assert!((0.0..1000.0).contains(&value), "{metric}: {value}");
                metric
            }
            None => {
                assert!((value - 1.0).abs() < f64::EPSILON, "{metric}: {value}");
                metric
            }
        };
        taken.into_iter().map(name).collect()
    }
}

async fn attest(broker: &Broker, chip: &Chip) -> Result<(), Error> {
    let challenge = broker.challenge("w").await;
    broker.attest.attest(&challenge.session_id, evidence(chip, &KEY, &challenge)).await.map(drop)
}

#[tokio::test]
async fn every_stage_is_timed_and_every_turn_to_amd_is_counted() {
    let (gathered, _guard) = Gathered::here();
    let world = World::new().await;
    let (broker, hardware) = (world.broker(), &world.hardware);
    let mut seen = Vec::new();
    let mut expect = |expected: &[&str]| {
        assert_eq!(gathered.taken(), expected);
        seen.extend(expected.iter().map(ToString::to_string));
    };

    broker.registered("w").await;
    expect(&["wrap", "transaction"]);
    broker.challenge("w").await;
    expect(&[]);
    attest(&broker, &hardware.chip).await.unwrap();
    expect(&["KdsMiss", "kds", "ListAge", "verify", "NoTcbFloor", "transaction"]);
    let session = broker.attested(hardware, "w").await;
    expect(&["KdsHit", "ListAge", "verify", "NoTcbFloor", "transaction"]);
    let floor = |row: &str| PlatformDemands {
        minimum_tcb: BySilicon::parse([row]).unwrap(),
        ..PlatformDemands::default()
    };
    for (fleet, counted) in [
        (Fleet { any_tcb: true, ..Fleet::default() }, false),
        (Fleet { platform: floor("milan-b1:snp=1"), ..Fleet::default() }, false),
        // A level that every platform has.
        (Fleet { platform: floor("milan-b1:snp=0"), ..Fleet::default() }, true),
    ] {
        let mut broker = world.broker();
        broker.attest.fleet = Arc::new(fleet);
        broker.attested(hardware, "w").await;
        let no_floor: &[_] = if counted { &["NoTcbFloor"] } else { &[] };
        expect(&[&["KdsHit", "ListAge", "verify"], no_floor, &["transaction"]].concat());
    }
    assert_eq!(broker.fetch(&session, "w", &KEY).await, Ok(PASSPHRASE.to_owned()));
    expect(&["unwrap"]);

    let other = Chip::new(hardware.chip.product(), 2);
    hardware.kds.add(&other);
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    assert!(matches!(attest(&broker, &other).await, Err(Error::Unavailable { .. })));
    expect(&["KdsMiss", "KdsThrottled", "kds"]);

    let mut closed = world.broker();
    closed.register.admission = Admission::NONE;
    assert!(matches!(closed.register.register(request("x", "p")).await, Err(Error::Unauthenticated { .. })));
    expect(&["Unauthenticated"]);

    let stranger = stranger();
    assert!(matches!(broker.fetch(&stranger, "w", &KEY).await, Err(Error::NoSession { .. })));
    expect(&["NoSession"]);

    let store = EmbeddedStore::open(&world.dir().join("panicking"), world.hardware.clock.clone()).unwrap();
    let store = Arc::new(FaultyStore::new(store));
    let panicking = world.broker_over(store.clone());
    store.fail(Method::Create, 1, When::Panicking);
    let error = panicking.register.register(request("y", "p")).await.unwrap_err();
    assert!(matches!(error, Error::Internal { id: Some(_) }), "{error:?}");
    expect(&["wrap", "Panicked"]);

    let all = Count::ALL.map(Count::name).into_iter().chain(Stage::ALL.map(Stage::name));
    for name in all {
        assert!(seen.iter().any(|seen| seen == name), "{name} is never measured");
    }
}
