//! Records of another build of this program: during a rolling change of version old and new instances share a log, and take
//! over each other's replies. A newer one writes fields that this program does not know.

use bytes::Bytes;

use crate::log::Stored;

/// Which build an instance is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// This one.
    This,
    /// A newer one, whose records have fields that this one does not know. (It is this one, with those fields added to what
    /// it writes, and taken from what it reads.)
    Newer,
}

/// What a newer build writes at the end of each record.
const OUTER: &[u8] = b",\"later\":{\"of\":[\"a newer build\",1]}}";

/// Where it writes something within, too, and what.
const INNER: [&[u8]; 5] =
    [b"{\"accepted\":{", b"{\"ended\":{", b"{\"events\":{", b"{\"done\":{", b"\"ended\":{\"reply\":"];
const ADDED: &[u8] = b"\"later\":true,";

impl Build {
    /// A record as this build writes it.
    pub(super) fn write(self, record: Bytes) -> Bytes {
        let Some(body) = record.strip_suffix(b"}").filter(|_| self == Self::Newer) else { return record };
        let mut written = body.to_vec();
        let places = INNER.iter().filter_map(|inner| {
            let inside = inner.iter().rposition(|byte| *byte == b'{')? + 1;
            Some(memchr::memmem::find(body, inner)? + inside)
        });
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        places.dedup();
        for place in places.into_iter().rev() {
            written.splice(place..place, ADDED.iter().copied());
        }
        written.extend_from_slice(OUTER);
        written.into()
    }

    /// A record as this build reads it: what it does not know is passed over, and what it has written itself is known to it.
    pub(super) fn read(self, stored: Stored) -> Stored {
        let Some(body) = stored.payload.strip_suffix(OUTER).filter(|_| self == Self::Newer) else { return stored };
        let mut read = body.to_vec();
        while let Some(place) = memchr::memmem::find(&read, ADDED) {
            read.drain(place..place + ADDED.len());
        }
        read.push(b'}');
        Stored { payload: read.into(), ..stored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_build_reads_what_it_wrote_and_others_find_more_fields_there() {
        let record = br#"{"v":1,"ordinal":2,"at":3,"change":{"ended":{"reply":"r","said":{"output":[]}}}}"#;
        let written = Build::Newer.write(Bytes::from_static(record));
        let value: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!((&value["later"]["of"][1], &value["change"]["ended"]["later"]), (&1.into(), &true.into()));
        let stored = Stored { sequence: 1, at: 1, payload: written };
        assert_eq!(Build::Newer.read(stored.clone()).payload, &record[..]);
        assert_eq!(Build::This.read(stored.clone()), stored);
        assert_eq!(Build::This.write(Bytes::from_static(record)), &record[..]);
    }
}
