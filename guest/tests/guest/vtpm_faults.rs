//! The vTPM and everything that can be wrong with it: each fault has its own error.

use std::time::Duration;

use keybroker_guest::{
    look::LookError,
    report::vtpm::{
        TpmError, VtpmError,
        wire::{Authority, ResponseError},
    },
};
use keybroker_snp::hcl::HclError;
use keybroker_testing::vtpm::honest;
use rustix::io::Errno;

use crate::paravisor::{Act, DEFINE, Paravisor, READ, READ_PUBLIC, WRITE, mixed};

const DATA: [u8; 64] = [0x5A; 64];
const RETRY: u32 = 0x922;

fn fault(paravisor: &Paravisor) -> VtpmError {
    paravisor.attest(&DATA).unwrap_err()
}

#[test]
fn without_the_paravisors_index_nothing_is_written() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::without_report();
    assert!(matches!(fault(&paravisor), VtpmError::NoReport));
    assert_eq!(*paravisor.commands.lock().unwrap(), [READ_PUBLIC]);
}

/// Each makes the index for the 64 bytes of no use, in its own way.
#[test]
fn an_index_of_another_kind_is_named() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    type Expected = fn(&VtpmError) -> bool;
    let rows: [(&[&str], Expected); 6] = [
        (&["-s", "32"], |error| matches!(error, VtpmError::Input(32))),
        (&["-s", "128"], |error| matches!(error, VtpmError::Input(128))),
        (&["-a", "ownerwrite|ownerread|nt=counter"], |error| matches!(error, VtpmError::Input(8))),
        // The paravisor reads it as the owner.
        (&["-s", "64", "-a", "ownerwrite|authread"], |error| matches!(error, VtpmError::Input(64))),
        (&["-s", "64", "-a", "policywrite|ownerread"], |error| {
            matches!(error, VtpmError::Tpm(TpmError::NoAccess(0x0140_0002, "written", _)))
        }),
        (&["-s", "64", "-a", "authwrite|ownerread", "-p", "secret"], |error| {
            matches!(error, VtpmError::Tpm(TpmError::Password("NV_Write", Authority::Index)))
        }),
    ];
    for (arguments, expected) in rows {
        let paravisor = Paravisor::new();
        let all = [&["-C", "o"], arguments, &["0x01400002"]].concat();
        paravisor.tool("tpm2_nvdefine", &all);
        let error = fault(&paravisor);
        assert!(expected(&error), "{arguments:?}: {error:?}");
    }
}

/// An index of somebody else's with a password counts wrong ones, and the TPM locks itself.
#[test]
fn a_tpm_that_locks_itself_is_named() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    let attributes = ["-s", "64", "-a", "authwrite|ownerread", "-p", "secret", "0x01400002"];
    paravisor.tool("tpm2_nvdefine", &[&["-C", "o"], attributes.as_slice()].concat());
    paravisor.tool("tpm2_dictionarylockout", &["-s", "-n", "2", "-t", "100", "-l", "100"]);
    for _ in 0..2 {
        let error = fault(&paravisor);
        assert!(
            matches!(error, VtpmError::Tpm(TpmError::Password("NV_Write", Authority::Index))),
            "{error:?}"
        );
    }
    let error = fault(&paravisor);
    assert!(matches!(error, VtpmError::Tpm(TpmError::Lockout("NV_Write"))), "{error:?}");
}

#[test]
fn an_owner_with_a_password_is_named() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    paravisor.tool("tpm2_changeauth", &["-c", "o", "secret"]);
    let error = fault(&paravisor);
    assert!(
        matches!(error, VtpmError::Tpm(TpmError::Password("NV_DefineSpace", Authority::Owner))),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "NV_DefineSpace: the TPM wants a password of its owner, and this guest has none"
    );
}

#[test]
fn a_report_that_never_fits_is_given_up_after_ten_seconds() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    type Makes = fn(&keybroker_simulator::guest::Machine, [u8; 64]) -> Vec<u8>;
    let rows: [(Makes, LookError); 6] = [
        (|machine, _| honest(machine, [9; 64]), LookError::UserData),
        (mixed, LookError::Claims),
        (|_, _| vec![0; 100], LookError::Hcl(HclError::Magic)),
        (|machine, _| machine.hcl_report_of(b"{}"), LookError::Hcl(HclError::NoUserData)),
        (
            |machine, data| {
                let mut blob = honest(machine, data);
                blob[1224] = 4;
                blob
            },
            LookError::Hcl(HclError::ReportKind(4)),
        ),
        (
            |machine, data| {
                let mut blob = honest(machine, data);
                blob[1232..1236].copy_from_slice(&u32::MAX.to_le_bytes());
                blob
            },
            LookError::Hcl(HclError::ClaimsSize { claims: u32::MAX, room: 2048 - 1236 }),
        ),
    ];
    let mut paravisor = Paravisor::new();
    for (makes, expected) in rows {
        paravisor.makes = makes;
        paravisor.time.advance(Duration::from_secs(3));
        match fault(&paravisor) {
            VtpmError::NotRenewed(error) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(paravisor.pauses(), [1, 2, 3, 4].map(Duration::from_secs));
    }
}

#[test]
fn a_paravisors_index_that_holds_nothing_of_use_is_refused() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let with = |attributes: &str| {
        let paravisor = Paravisor::without_report();
        paravisor.tool("tpm2_nvdefine", &["-C", "o", "-s", "64", "-a", attributes, "0x01400001"]);
        paravisor
    };
    let unwritten = with("ownerread|ownerwrite");
    assert!(matches!(fault(&unwritten), VtpmError::Tpm(TpmError::Code("NV_Read", 0x14A))));
    let unreadable = with("ownerwrite|policyread");
    assert!(matches!(fault(&unreadable), VtpmError::Tpm(TpmError::NoAccess(0x0140_0001, "read", _))));
    let short = with("ownerread|ownerwrite");
    short.write("0x01400001", &[7; 64], &["-C", "o"]);
    assert!(matches!(fault(&short), VtpmError::NotRenewed(LookError::Hcl(HclError::Size(64)))));
}

#[test]
fn a_tpm_that_asks_for_patience_is_asked_again_and_not_forever() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    for code in [0x908, 0x90A, 0x920, RETRY, 0x923] {
        paravisor.meets(WRITE, (0..5).map(|_| Act::Code(code)));
        paravisor.time.advance(Duration::from_secs(3));
        paravisor.attest(&DATA).unwrap();
        assert_eq!(paravisor.pauses(), [50, 100, 200, 400, 800].map(Duration::from_millis));
    }
    paravisor.meets(READ, (0..6).map(|_| Act::Code(RETRY)));
    assert!(matches!(fault(&paravisor), VtpmError::Tpm(TpmError::Busy("NV_Read", 6, RETRY))));
    paravisor.meets(READ_PUBLIC, [Act::Kernel(Errno::BUSY)]);
    paravisor.attest(&DATA).unwrap();
}

#[test]
fn every_code_ends_with_its_own_error() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    type Expected = fn(&TpmError) -> bool;
    let rows: [(u32, u32, Expected); 7] = [
        // TPM_RC_NV_SPACE. It comes first: later the index is there.
        (DEFINE, 0x14B, |error| matches!(error, TpmError::Code("NV_DefineSpace", 0x14B))),
        (WRITE, 0x921, |error| matches!(error, TpmError::Lockout("NV_Write"))),
        (READ, 0x98E, |error| matches!(error, TpmError::Password("NV_Read", Authority::Owner))),
        (READ, 0x9A2, |error| matches!(error, TpmError::Password("NV_Read", Authority::Owner))),
        // TPM_RC_NV_LOCKED, TPM_RC_FAILURE.
        (WRITE, 0x148, |error| matches!(error, TpmError::Code("NV_Write", 0x148))),
        (READ_PUBLIC, 0x101, |error| matches!(error, TpmError::Code("NV_ReadPublic", 0x101))),
        // The index went between two commands: the second handle names nothing.
        (READ, 0x28B, |error| matches!(error, TpmError::Code("NV_Read", 0x28B))),
    ];
    let paravisor = Paravisor::new();
    for (command, code, expected) in rows {
        paravisor.meets(command, [Act::Code(code)]);
        match fault(&paravisor) {
            VtpmError::Tpm(error) => assert!(expected(&error), "{code:#x}: {error:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(paravisor.pauses(), [Duration::ZERO; 0]);
    }
}

#[test]
fn an_error_of_the_kernel_is_told_as_it_is() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    let paravisor = Paravisor::new();
    paravisor.meets(WRITE, [Act::Kernel(Errno::IO)]);
    match fault(&paravisor) {
        VtpmError::Tpm(TpmError::Io(error)) => assert_eq!(error.raw_os_error(), Some(5)),
        other => panic!("{other:?}"),
    }
}

/// Each alters the response of the TPM to a command: a length, a tag, an index that is not what was asked
/// for.
#[test]
fn a_response_that_lies_is_refused() {
    if !keybroker_testing::vtpm::at_hand() {
        return;
    }
    type Alters = fn(&mut Vec<u8>);
    fn size(response: &mut [u8], by: i32) {
        let size = u32::from_be_bytes(response[2..6].try_into().unwrap());
        response[2..6].copy_from_slice(&size.strict_add_signed(by).to_be_bytes());
    }
    let rows: [(u32, Alters, ResponseError); 17] = [
        (READ, Vec::clear, ResponseError::Short),
        (READ, |response| response.truncate(5), ResponseError::Short),
        (READ, |response| response.truncate(9), ResponseError::Short),
        (READ, |response| response.truncate(200), ResponseError::Short),
        (READ, |response| size(response, 1), ResponseError::Short),
        (READ, |response| size(response, -1), ResponseError::Size { says: 532, has: 533 }),
        (READ, |response| response[2..6].fill(0), ResponseError::Size { says: 0, has: 266 }),
        (READ, |response| response[2..6].fill(0xFF), ResponseError::TooLong(u32::MAX)),
        (READ, |response| response[1] = 1, ResponseError::Tag(0x8001)),
        (READ, |response| response[10..14].fill(0xFF), ResponseError::Short),
        // The parameters end before the data do, and behind them.
        (READ, |response| response[13] = 1, ResponseError::Session),
        (READ, |response| response[15] += 1, ResponseError::Short),
        (READ, |response| response[14..16].fill(0), ResponseError::LeftOver(512)),
        (READ, |response| *response.last_mut().unwrap() = 1, ResponseError::Session),
        (WRITE, |response| response[1] = 1, ResponseError::Tag(0x8001)),
        (READ_PUBLIC, |response| response[15] = 9, ResponseError::Index(0x0140_0009)),
        (READ_PUBLIC, |response| response[11] += 1, ResponseError::Short),
    ];
    let paravisor = Paravisor::new();
    for (command, alter, expected) in rows {
        paravisor.meets(command, [Act::Altered(alter)]);
        match fault(&paravisor) {
            VtpmError::Tpm(TpmError::Response(_, error)) => assert_eq!(error, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    // Fewer bytes than were asked for, in a response that is whole.
    let shortened = |response: &mut Vec<u8>| {
        response.remove(16);
        response[5] -= 1;
        response[13] -= 1;
        response[14..16].copy_from_slice(&511_u16.to_be_bytes());
    };
    paravisor.meets(READ, [Act::Altered(shortened)]);
    assert!(matches!(
        fault(&paravisor),
        VtpmError::Tpm(TpmError::Response("NV_Read", ResponseError::Data { asked: 512, has: 511 }))
    ));
}
