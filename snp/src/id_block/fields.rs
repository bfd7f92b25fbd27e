//! Fields of a structure, at places that the compiler checks.

/// `N` bytes at `AT`.
pub(super) fn read<const AT: usize, const N: usize, const LEN: usize>(bytes: &[u8; LEN]) -> [u8; N] {
    const { assert!(AT + N <= LEN) };
    // The assertion above makes the fallback unreachable.
    bytes.get(AT..).and_then(|tail| tail.first_chunk()).copied().unwrap_or([0; N])
}

/// Puts `field` at `AT`.
pub(super) fn write<const AT: usize, const N: usize, const LEN: usize>(
    bytes: &mut [u8; LEN],
    field: [u8; N],
) {
    const { assert!(AT + N <= LEN) };
    bytes.iter_mut().skip(AT).zip(field).for_each(|(to, from)| *to = from);
}
