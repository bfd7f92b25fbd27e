//! A table of advisories: one that is read judges any report, and sets floors for any month or says why not.
#![no_main]

use keybroker_common::{
    advisories::{Advisories, Month},
    platform::PlatformDemands,
};
use keybroker_snp::{product::Product, report::Report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(table) = Advisories::parse(bytes) else { return };
    // A report of each row's silicon, at the highest level and at none.
    for row in table.rows() {
        for level in [0, u8::MAX] {
            let mut report = vec![level; Report::SIZE];
            let silicon = [row.silicon.family, row.silicon.model, row.silicon.stepping];
            let (version, algorithm) = (&[5, 0, 0, 0], &[1, 0, 0, 0]);
            let fields: [(usize, &[u8]); 5] =
                [(0, version), (0x34, algorithm), (0x48, &[0; 4]), (0x188, &silicon), (0x2A0, &[0; 512])];
            for (at, field) in fields {
                report.iter_mut().skip(at).zip(field).for_each(|(place, byte)| *place = *byte);
            }
            let Ok(report) = Report::parse(&report) else { continue };
            let verdict = table.verdict(&report, row.silicon.product().unwrap_or(Product::Milan));
            assert!(!verdict.to_string().is_empty() && usize::from(verdict.rows) <= table.rows().len());
        }
        if let Ok(floors) = table.floors(row.published) {
            let _ = floors.raise(&mut PlatformDemands::default());
        }
    }
    let _ = Month::of_floor(&String::from_utf8_lossy(bytes));
});
