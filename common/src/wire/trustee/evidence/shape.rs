//! The shapes of a report: three releases of one structure in the crate `sev`, and which byte of the report
//! each member is.

use serde::de::MapAccess;

use super::{
    fault::{EvidenceFault, Member},
    field::{Bytes, Number, NumberOrNull},
    object::{Object, Reader},
};

/// One member: its name, where its bytes begin within the object's, and its form.
#[derive(Clone, Copy)]
pub(super) struct Row {
    name: &'static str,
    at: usize,
    form: Form,
}

/// The form of a member's value, and how many bytes it is.
#[derive(Clone, Copy)]
enum Form {
    Number(usize),
    /// Null, or left out, for a field that a report of this version does not have: zero.
    NumberOrNull(usize),
    Bytes(usize),
    Object(usize, Rows),
}

/// The members of an object, in groups.
pub(super) type Rows = &'static [&'static [Row]];

const fn number(name: &'static str, at: usize, length: usize) -> Row {
    Row { name, at, form: Form::Number(length) }
}

const fn number_or_null(name: &'static str, at: usize, length: usize) -> Row {
    Row { name, at, form: Form::NumberOrNull(length) }
}

const fn bytes(name: &'static str, at: usize, length: usize) -> Row {
    Row { name, at, form: Form::Bytes(length) }
}

const fn object(name: &'static str, at: usize, length: usize, rows: Rows) -> Row {
    Row { name, at, form: Form::Object(length, rows) }
}

/// The four TCB versions, in the layout of `rows`.
const fn tcbs(rows: Rows) -> [Row; 4] {
    [
        object("current_tcb", 0x038, 8, rows),
        object("reported_tcb", 0x180, 8, rows),
        object("committed_tcb", 0x1E0, 8, rows),
        object("launch_tcb", 0x1F0, 8, rows),
    ]
}

/// Every shape has these.
const COMMON: &[Row] = &[
    number("version", 0x000, 4),
    number("guest_svn", 0x004, 4),
    number("policy", 0x008, 8),
    bytes("family_id", 0x010, 16),
    bytes("image_id", 0x020, 16),
    number("vmpl", 0x030, 4),
    number("sig_algo", 0x034, 4),
    number("plat_info", 0x040, 8),
    bytes("report_data", 0x050, 64),
    bytes("measurement", 0x090, 48),
    bytes("host_data", 0x0C0, 32),
    bytes("id_key_digest", 0x0E0, 48),
    bytes("author_key_digest", 0x110, 48),
    bytes("report_id", 0x140, 32),
    bytes("report_id_ma", 0x160, 32),
    bytes("chip_id", 0x1A0, 64),
];

/// `sev` 1.2 to 4.0: every byte of a report, reserved ones too. Whatever a later version of the report has
/// stands in a reserved field.
const EARLY: &[Row] = &[
    number("_author_key_en", 0x048, 4),
    number("_reserved_0", 0x04C, 4),
    bytes("_reserved_1", 0x188, 24),
    number("current_build", 0x1E8, 1),
    number("current_minor", 0x1E9, 1),
    number("current_major", 0x1EA, 1),
    number("_reserved_2", 0x1EB, 1),
    number("committed_build", 0x1EC, 1),
    number("committed_minor", 0x1ED, 1),
    number("committed_major", 0x1EE, 1),
    number("_reserved_3", 0x1EF, 1),
    bytes("_reserved_4", 0x1F8, 168),
    object("signature", 0x2A0, 512, &[SCALARS, &[bytes("_reserved", 144, 368)]]),
];

/// The bytes as they stand, in the order of the first products: on Turin, the names are others' than the
/// components'.
const EARLY_TCBS: [Row; 4] = tcbs(&[&[
    number("bootloader", 0, 1),
    number("tee", 1, 1),
    bytes("_reserved", 2, 4),
    number("snp", 6, 1),
    number("microcode", 7, 1),
]]);

/// `sev` 6.0 and later: the fields that have a meaning. From 6.3 on those of version 5 are among them.
const LATER: &[Row] = &[
    number("key_info", 0x048, 4),
    number_or_null("cpuid_fam_id", 0x188, 1),
    number_or_null("cpuid_mod_id", 0x189, 1),
    number_or_null("cpuid_step", 0x18A, 1),
    object("current", 0x1E8, 3, FIRMWARE),
    object("committed", 0x1EC, 3, FIRMWARE),
    number_or_null("launch_mit_vector", 0x1F8, 8),
    number_or_null("current_mit_vector", 0x200, 8),
    object("signature", 0x2A0, 144, &[SCALARS]),
];

const FIRMWARE: Rows = &[&[number("major", 2, 1), number("minor", 1, 1), number("build", 0, 1)]];

const SCALARS: &[Row] = &[bytes("r", 0, 72), bytes("s", 72, 72)];

/// The TCB versions of Milan and Genoa, which have no `fmc`: it is null.
const LATER_TCBS: [Row; 4] = tcbs(&[&[
    number("bootloader", 0, 1),
    number("tee", 1, 1),
    number("snp", 6, 1),
    number("microcode", 7, 1),
]]);

/// The TCB versions of Turin.
const LATER_TCBS_OF_TURIN: [Row; 4] = tcbs(&[&[
    number("fmc", 0, 1),
    number("bootloader", 1, 1),
    number("tee", 2, 1),
    number("snp", 3, 1),
    number("microcode", 7, 1),
]]);

/// The shape of a report, and the layout of its TCB versions: each has all its members and no other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Early,
    Later,
    LaterOfTurin,
}

impl Shape {
    /// The members of a report of this shape.
    pub(super) fn rows(self) -> Rows {
        match self {
            Self::Early => &[COMMON, &EARLY_TCBS, EARLY],
            Self::Later => &[COMMON, &LATER_TCBS, LATER],
            Self::LaterOfTurin => &[COMMON, &LATER_TCBS_OF_TURIN, LATER],
        }
    }
}

/// An object that is bytes of a report, laid out by `rows`.
pub(super) struct Layout<'a> {
    pub(super) name: &'static str,
    pub(super) rows: Rows,
    pub(super) bytes: &'a mut [u8],
}

impl Object for Layout<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn required(&self) -> impl Iterator<Item = &'static str> {
        let rows = self.rows.iter().copied().flatten();
        rows.filter(|row| !matches!(row.form, Form::NumberOrNull(_))).map(|row| row.name)
    }

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &mut EvidenceFault,
    ) -> Result<bool, A::Error> {
        let Some(row) = self.rows.iter().copied().flatten().find(|row| row.name == name) else {
            return Ok(false);
        };
        *fault = row.fault(self.name);
        let bytes = row.part(self.bytes);
        match row.form {
            Form::Number(_) => map.next_value_seed(Number(bytes)),
            Form::NumberOrNull(_) => map.next_value_seed(NumberOrNull(bytes)),
            Form::Bytes(_) => map.next_value_seed(Bytes(bytes)),
            Form::Object(_, rows) => {
                let object = &mut Layout { name: row.name, rows, bytes };
                map.next_value_seed(Reader { object, fault })
            }
        }?;
        Ok(true)
    }
}

impl Row {
    fn length(&self) -> usize {
        match self.form {
            Form::Number(length) | Form::NumberOrNull(length) | Form::Bytes(length) => length,
            Form::Object(length, _) => length,
        }
    }

    /// The row's bytes among its object's. They lie within: the tests go through every shape.
    fn part<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        bytes.get_mut(self.at..self.at + self.length()).unwrap_or_default()
    }

    /// The fault of a value of another form.
    fn fault(&self, object: &'static str) -> EvidenceFault {
        let member = Member::new(object, self.name);
        match self.form {
            Form::Number(length) | Form::NumberOrNull(length) => {
                EvidenceFault::Number { member, bits: 8 * length }
            }
            Form::Bytes(length) => EvidenceFault::Bytes { member, length },
            Form::Object(..) => EvidenceFault::Object(member),
        }
    }
}

#[cfg(test)]
mod tests {
    use keybroker_snp::report::Report;

    use super::*;

    /// How often each byte of a report is some member's.
    fn owners(rows: Rows, at: usize, bytes: &mut [u8]) {
        for row in rows.iter().copied().flatten() {
            match row.form {
                Form::Object(length, rows) => {
                    let end = at + row.at + length;
                    owners(rows, at + row.at, &mut bytes[..end]);
                }
                _ => row.part(&mut bytes[at..]).iter_mut().for_each(|byte| *byte += 1),
            }
        }
    }

    fn owned(shape: Shape) -> Vec<u8> {
        let mut bytes = vec![0; Report::SIZE];
        owners(shape.rows(), 0, &mut bytes);
        bytes
    }

    /// How many bytes the members say that they are.
    fn length(rows: Rows) -> usize {
        let lengths = rows.iter().copied().flatten().map(|row| match row.form {
            Form::Object(_, rows) => length(rows),
            _ => row.length(),
        });
        lengths.sum()
    }

    #[test]
    fn the_early_shape_has_every_byte_once() {
        assert_eq!(owned(Shape::Early), [1; Report::SIZE]);
        assert_eq!(length(Shape::Early.rows()), Report::SIZE);
    }

    /// The other bytes are reserved in every version that there is.
    #[test]
    fn the_later_shape_has_every_byte_that_means_something_once() {
        let reserved = [0x04C..0x050, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0, 0x208..0x2A0, 0x330..0x4A0];
        for (shape, of_tcbs) in [(Shape::Later, 2..6), (Shape::LaterOfTurin, 4..7)] {
            let mut expected = [1; Report::SIZE];
            let tcbs = [0x038, 0x180, 0x1E0, 0x1F0].map(|tcb| tcb + of_tcbs.start..tcb + of_tcbs.end);
            reserved.clone().into_iter().chain(tcbs).for_each(|range| expected[range].fill(0));
            assert_eq!(owned(shape), expected, "{shape:?}");
            assert_eq!(length(shape.rows()), expected.iter().filter(|byte| **byte == 1).count());
        }
    }
}
