//! The cost of a guest's attestation to the broker, side by side: the report's signature alone, the whole
//! attestation, the whole protocol, and the attestation over HTTP. The guest's own work is not counted.
//!
//! In memory the benchmark measures this thread's CPU time, which other processes do not disturb. With the
//! embedded store it measures time by the clock, which includes syncing transactions to `TMPDIR`.

// A bench that cannot be set up has nothing to measure.
#![allow(clippy::expect_used, missing_docs)]

mod world;

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use keybroker_common::clock::SystemClock;
use keybroker_embedded::store::EmbeddedStore;
use keybroker_simulator::{
    Product,
    pki::{Amd, Chip},
    report::ReportFields,
};
use keybroker_snp::{report::Report, vek::Vek};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use self::world::{World, evidence};

criterion_group!(benches, signature, in_memory, embedded);
criterion_main!(benches);

/// The clock that measures a span of time.
#[derive(Clone, Copy)]
enum Stopwatch {
    Cpu,
    Wall,
}

impl Stopwatch {
    fn now(self) -> Duration {
        let id = match self {
            Self::Cpu => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        };
        Duration::try_from(clock_gettime(id)).expect("a time after the clock's beginning")
    }

    async fn time<T>(self, work: impl Future<Output = T>) -> (Duration, T) {
        let start = self.now();
        let done = work.await;
        (self.now() - start, done)
    }
}

/// The part that no attestation can do without.
fn signature(criterion: &mut Criterion) {
    let amd = Amd::new(Product::Milan, jiff::Timestamp::now());
    let chip = Chip::new(Product::Milan, 1);
    let machine = amd.vcek(&chip);
    let report = Report::parse(&ReportFields::new(&chip).sign(&machine.key)).expect("a report");
    let vek = Vek::parse(&machine.certificate).expect("a certificate");
    criterion.bench_function("attest/signature alone", |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Stopwatch::Cpu.now();
            for _ in 0..iterations {
                assert!(vek.has_signed(black_box(report.signed_bytes()), &report.signature()));
            }
            Stopwatch::Cpu.now() - start
        });
    });
}

fn in_memory(criterion: &mut Criterion) {
    let runtime = runtime();
    let store = EmbeddedStore::in_memory(Arc::new(SystemClock)).expect("a store");
    let mut world = runtime.block_on(World::new(Arc::new(store)));
    measure(criterion, &runtime, ("in memory", Stopwatch::Cpu), &mut world);
}

fn embedded(criterion: &mut Criterion) {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = EmbeddedStore::open(&directory.path().join("data"), Arc::new(SystemClock)).expect("a store");
    let mut world = runtime.block_on(World::new(Arc::new(store)));
    measure(criterion, &runtime, ("embedded", Stopwatch::Wall), &mut world);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn measure(
    criterion: &mut Criterion,
    runtime: &Runtime,
    (store, stopwatch): (&str, Stopwatch),
    world: &mut World,
) {
    criterion.bench_function(&format!("attest/{store}"), |bencher| {
        bencher.iter_custom(|iterations| {
            runtime.block_on(sum(iterations, async || attestation(world, stopwatch).await))
        });
    });
    criterion.bench_function(&format!("attest/{store}, over HTTP"), |bencher| {
        bencher.iter_custom(|iterations| {
            runtime.block_on(sum(iterations, async || over_http(world, stopwatch).await))
        });
    });
    criterion.bench_function(&format!("attest/{store}, whole protocol"), |bencher| {
        bencher.iter_custom(|iterations| {
            runtime.block_on(sum(iterations, async || protocol(world, stopwatch).await))
        });
    });
}

async fn sum(iterations: u64, mut once: impl AsyncFnMut() -> Duration) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        total += once().await;
    }
    total
}

async fn attestation(world: &mut World, stopwatch: Stopwatch) -> Duration {
    let (id, evidence) = world.answered().await;
    stopwatch.time(world.attest(&id, evidence)).await.0
}

async fn over_http(world: &mut World, stopwatch: Stopwatch) -> Duration {
    let request = world.request().await;
    stopwatch.time(world.serve(request)).await.0
}

async fn protocol(world: &mut World, stopwatch: Stopwatch) -> Duration {
    let (auth, challenge) = stopwatch.time(world.challenge()).await;
    let body = world.answer(&challenge);
    let rest = stopwatch.time(async {
        world.attest(&challenge.session_id, evidence(&body)).await;
        world.release(&challenge.session_id).await;
    });
    auth + rest.await.0
}
