//! The rule of init data: which guest is admitted by what it says and by what HOST_DATA says.

use super::*;

/// The init data of [`guest`](super::guest), bound by this.
pub(super) fn required(bound_by: BoundBy) -> Option<InitDataRequirement> {
    Some(InitDataRequirement { digest: init_data(), bound_by, broker_keys: None })
}

/// The verdict on a guest that says this, under a registration that requires init data, bound by this.
fn appraised(
    guest: &VerifiedReport,
    bound_by: BoundBy,
    said: Option<&InitDataDigest>,
) -> Result<(), (AppraisalCheck, Error)> {
    let policy = Policy { init_data: required(bound_by), ..Policy::default() };
    let workload = workload(registered(), &policy);
    appraise(guest, EvidenceForm::Snp, &Fleet::default(), &workload.read().unwrap(), said).map(|_| ())
}

const ALL: [BoundBy; 3] = [BoundBy::HostData, BoundBy::Measurement, BoundBy::Nothing];

fn denied(error: Error) -> Result<(), (AppraisalCheck, Error)> {
    Err((AppraisalCheck::InitData, error))
}

#[test]
fn the_guest_that_has_the_init_data_is_admitted() {
    for bound_by in ALL {
        assert_eq!(appraised(&guest(|_| ()), bound_by, Some(&init_data())), Ok(()), "{bound_by:?}");
    }
}

/// Whatever binds it. HOST_DATA may be copied, and has 32 bytes of it alone.
#[test]
fn a_guest_that_says_other_init_data_is_denied() {
    let digest = |algorithm, byte, length| InitDataDigest::new(algorithm, vec![byte; length]).unwrap();
    let mut last = vec![0xD0; 48];
    last[47] ^= 1;
    let others = [
        digest(Algorithm::Sha384, 0xD1, 48),
        InitDataDigest::new(Algorithm::Sha384, last).unwrap(),
        digest(Algorithm::Sha256, 0xD0, 32),
        digest(Algorithm::Sha512, 0xD0, 64),
    ];
    for bound_by in ALL {
        for other in &others {
            let (found, required) = (format!("{other:?}"), format!("{:?}", init_data()));
            let error = Error::InitData { found, required };
            assert_eq!(appraised(&guest(|_| ()), bound_by, Some(other)), denied(error), "{bound_by:?}");
        }
    }
}

/// Guests of other dialects say nothing: where HOST_DATA binds it, the report has said it.
#[test]
fn a_guest_that_says_nothing_is_denied_where_host_data_does_not_say_it() {
    assert_eq!(appraised(&guest(|_| ()), BoundBy::HostData, None), Ok(()));
    for bound_by in [BoundBy::Measurement, BoundBy::Nothing] {
        assert_eq!(appraised(&guest(|_| ()), bound_by, None), denied(Error::NoInitData), "{bound_by:?}");
    }
}

#[test]
fn host_data_counts_where_it_binds_and_nowhere_else() {
    for byte in 0..32 {
        let launched = guest(|guest| guest.host_data[byte] ^= 1);
        let mut found = [0xD0; 32];
        found[byte] ^= 1;
        let error = field("HOST_DATA", &found, &[0xD0; 32]);
        for said in [None, Some(init_data())] {
            assert_eq!(
                appraised(&launched, BoundBy::HostData, said.as_ref()),
                denied(error.clone()),
                "{byte}"
            );
        }
        for bound_by in [BoundBy::Measurement, BoundBy::Nothing] {
            assert_eq!(appraised(&launched, bound_by, Some(&init_data())), Ok(()), "{byte}");
        }
    }
}

/// Wherever the requirement is printed, it says in words what binds it.
#[test]
fn the_requirement_says_what_binds_it() {
    let words = ALL.map(|bound_by| required(bound_by).unwrap().to_string());
    for (words, binding) in words.iter().zip(ALL) {
        assert!(words.starts_with(&format!("sha384:{}", "d0".repeat(48))), "{words}");
        assert!(words.ends_with(binding.words()), "{words}");
    }
}
