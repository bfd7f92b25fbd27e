//! The age of the revocation list in use, as it is measured: days since AMD was last seen to publish it.

use std::sync::{Arc, Mutex};

use keybroker_common::metrics::{LIST_AGE, TARGET};
use keybroker_simulator::kds::Behaviour;
use keybroker_testing::announced;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::{
    harness::clock::{days, minutes},
    revocation::{again, started},
};

/// Keeps the ages that this thread measures.
#[derive(Clone, Default)]
struct Ages(Arc<Mutex<Vec<f64>>>);

impl Ages {
    /// The one since the last time.
    fn one(&self) -> f64 {
        let ages = std::mem::take(&mut *self.0.lock().unwrap());
        let [age] = ages.as_slice() else { panic!("{ages:?}") };
        *age
    }
}

impl Subscriber for Ages {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut measured = Measured::default();
        event.record(&mut measured);
        if measured.metric == LIST_AGE {
            self.0.lock().unwrap().push(measured.value);
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Measured {
    metric: String,
    value: f64,
}

impl Visit for Measured {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "metric" {
            value.clone_into(&mut self.metric);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "value" {
            self.value = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// By when it was fetched, and not by its thisUpdate: AMD issues lists for months.
#[tokio::test]
async fn a_list_ages_from_when_it_was_fetched_until_it_is_fetched_again() {
    let ages = Ages::default();
    let _measuring = announced::hear(ages.clone());
    let (hardware, source) = started().await;
    assert!(ages.one() < 0.01);
    hardware.clock.advance(minutes(12 * 60));
    again(&hardware, &source).await.unwrap();
    assert_eq!((ages.one() * 10.0).round(), 5.0);
    // AMD is out.
    hardware.kds.otherwise(Behaviour::Status(500, None));
    hardware.clock.advance(days(3));
    again(&hardware, &source).await.unwrap();
    assert_eq!((ages.one() * 10.0).round(), 35.0);
    hardware.kds.recover();
    hardware.clock.advance(days(1));
    again(&hardware, &source).await.unwrap();
    assert!(ages.one() < 0.01);
}
