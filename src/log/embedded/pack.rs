//! Longer payloads are compressed on disk: deltas and layouts in JSON repeat themselves. Pure.

use std::borrow::Cow;

use super::frame::{Damaged, MAGIC};

/// What is shorter gains little, and most records are.
const SHORTEST: usize = 1024;

/// What is longer would hold up the one writer: LZ4 takes some 2 ms for a MiB.
const LONGEST: usize = 256 << 10;

/// No byte from here on begins a header's kind.
const KINDS: u8 = 0x20;

/// The payload in less space. `None`: as it is.
pub(super) fn packed(payload: &[u8]) -> Option<Vec<u8>> {
    if !(SHORTEST..=LONGEST).contains(&payload.len()) {
        return None;
    }
    let packed = lz4_flex::block::compress_prepend_size(payload);
    // After a damage, headers are looked for byte by byte: nothing in a payload may look like one.
    let is_plain = !packed.windows(2).any(|pair| pair[0] == MAGIC && pair[1] < KINDS);
    (is_plain && packed.len() < payload.len() / 8 * 7).then_some(packed)
}

/// What was packed, if it was.
pub(super) fn unpacked(payload: &[u8], is_packed: bool) -> Result<Cow<'_, [u8]>, Damaged> {
    if !is_packed {
        return Ok(Cow::Borrowed(payload));
    }
    // The size stands before it, and is no reason to reserve more than was ever packed.
    match payload.first_chunk().map(|size| u32::from_le_bytes(*size) as usize) {
        Some(size) if size <= LONGEST => {
            lz4_flex::block::decompress_size_prepended(payload).map(Cow::Owned).map_err(|_| Damaged)
        }
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(words in proptest::collection::vec("[a-z\"{}:,\\u{80}-\\u{7ff}]{1,9}", 0..900)) {
            let text = words.join(" ").into_bytes();
            if let Some(packed) = packed(&text) {
                prop_assert!(packed.len() < text.len());
                prop_assert!(!packed.windows(2).any(|pair| pair[0] == MAGIC && pair[1] < KINDS));
                prop_assert_eq!(unpacked(&packed, true), Ok(Cow::Owned(text)));
            }
        }
    }

    #[test]
    fn deltas_take_a_fifth() {
        let delta = |number: usize| format!(r#"{{"d":{{"i":0,"t":" word{}"}}}},"#, number * 7919 % 1000);
        let deltas: String = (0..170).map(delta).collect();
        let packed = packed(deltas.as_bytes()).expect("it is shorter");
        assert!(packed.len() * 4 < deltas.len(), "{} of {}", packed.len(), deltas.len());
    }

    #[test]
    fn what_is_short_very_long_or_random_stays() {
        assert_eq!(packed(&[b'a'; SHORTEST - 1]), None);
        assert_eq!(packed(&vec![b'a'; LONGEST + 1]), None);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..SHORTEST * 2).map(|_| random.u8(b' '..b'~')).collect();
        assert_eq!(packed(&noise), None);
    }

    #[test]
    fn damaged_bytes_give_an_error() {
        let mut bytes = packed(&[b'a'; 4000]).expect("it is shorter");
        assert_eq!(unpacked(&bytes[..3], true), Err(Damaged));
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpacked(&bytes, true), Err(Damaged));
    }
}
