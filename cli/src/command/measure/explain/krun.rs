//! The explanation of a krun guest.

use std::{iter, num::NonZeroU8};

use keybroker_common::requirements::Measurement;
use keybroker_snp::measurement::krun::{Fpu, Prepared};

use super::{Difference, Explanation, Fit, differs, other_file};
use crate::{
    command::measure::{
        input::Input,
        krun::{KrunGuests, of, parse, prepared},
        output::vcpus,
    },
    exit::Failure,
};

/// The most vCPUs that are tried with every size of memory. With a size that was given, all are.
const LIKELY_VCPUS: u8 = 32;
/// The sizes of memory that are tried, in MiB: multiples up to the largest.
const STEP: usize = 128;
const LARGEST: u32 = 32 * 1024;

impl KrunGuests<'_> {
    /// Finds out which guest has the measurement: of this library, or of another.
    pub(in crate::command::measure) fn explain(
        &self,
        digest: Measurement,
        others: &[Input],
    ) -> Result<Explanation, Failure> {
        let otherwise = "the host has another libkrunfw-sev, or the guest an unusual size of memory";
        let mut fit = None;
        for library in iter::once(self.library).chain(others) {
            if let Some((vcpus, memory, fpu)) = self.sizes(digest, &prepared(&parse(library)?)?) {
                let differences = self.differences(library, vcpus, memory);
                fit = Some(Fit { differences, measured: of(library, vcpus, memory, fpu, digest) });
                break;
            }
        }
        Ok(Explanation { digest, fit, otherwise })
    }

    /// The guest of this library that has the measurement: one of those that were given, one of another size,
    /// or any likely one.
    fn sizes(&self, digest: Measurement, library: &Prepared<'_>) -> Option<(NonZeroU8, u32, Fpu)> {
        let all: Vec<_> = (1..=u8::MAX).filter_map(NonZeroU8::new).collect();
        let likely: Vec<_> = all.iter().copied().take(LIKELY_VCPUS.into()).collect();
        let sizes: Vec<_> = (256..=LARGEST).step_by(STEP).collect();
        let rounds: [(&[_], &[_]); 4] =
            [(self.vcpus, self.memory), (&all, self.memory), (self.vcpus, &sizes), (&likely, &sizes)];
        let mut guests = rounds.into_iter().flat_map(|(vcpus, memory)| {
            vcpus.iter().flat_map(move |vcpus| memory.iter().map(move |memory| (*vcpus, *memory)))
        });
        guests.find_map(|(vcpus, memory)| {
            // A guest that is too small for its kernel is no neighbour.
            let fits = |fpu: &Fpu| library.measure(vcpus, memory, *fpu) == Ok(digest.0);
            Fpu::ALL.into_iter().find(fits).map(|fpu| (vcpus, memory, fpu))
        })
    }

    fn differences(&self, library: &Input, found: NonZeroU8, memory: u32) -> Vec<Difference> {
        let mut differences = Vec::new();
        if library.name != self.library.name {
            differences.push(other_file(("library", "--library"), library, self.library));
        }
        let words = |number: &NonZeroU8| format!("with {}", vcpus(number.get().into()));
        differences.extend(differs(("vcpus", "--vcpus"), &found, self.vcpus, words));
        let words = |memory: &u32| format!("with {memory} MiB of RAM");
        differences.extend(differs(("memory", "--memory"), &memory, self.memory, words));
        differences
    }
}
