//! WAV: the header that we write, and the one that a voice sends (RIFF, as Microsoft describes it). Pure.

/// The rate of everything that is spoken here, in samples a second.
pub(crate) const RATE: u32 = 24_000;

/// The header of 24 kHz, 16 bit, mono, of a length that is not known yet: players go on to the end of the stream.
pub(crate) fn header() -> [u8; 44] {
    header_of(RATE, None)
}

/// The header of 16 bit, mono, of this rate and so many bytes of samples; `None`: as many as come.
pub(super) fn header_of(rate: u32, samples: Option<u32>) -> [u8; 44] {
    let whole = samples.map_or(u32::MAX, |samples| samples.saturating_add(36)).to_le_bytes();
    let mut header = [0; 44];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    for part in [b"RIFF", &whole, b"WAVE", b"fmt ", &16u32.to_le_bytes()] {
        put(part);
    }
    // PCM, one channel.
    put(&1u16.to_le_bytes());
    put(&1u16.to_le_bytes());
    put(&rate.to_le_bytes());
    put(&(rate * 2).to_le_bytes());
    put(&2u16.to_le_bytes());
    put(&16u16.to_le_bytes());
    put(b"data");
    put(&samples.unwrap_or(u32::MAX).to_le_bytes());
    header
}

/// Notes the length, now that it is known, in a file that begins with [`header`]; leaves others as they are.
pub(crate) fn complete(file: &mut [u8]) {
    let Ok(length) = u32::try_from(file.len()) else { return };
    if file.len() >= 44 && file[..44] == header() {
        file[4..8].copy_from_slice(&(length - 8).to_le_bytes());
        file[40..44].copy_from_slice(&(length - 44).to_le_bytes());
    }
}

/// What samples are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spec {
    /// Samples a second, of each channel.
    pub(super) rate: u32,
    /// Channels, one after the other in each frame.
    pub(super) channels: u16,
    /// How each sample is written, little-endian.
    pub(super) sample: Sample,
}

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

/// A header that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("it is not a WAV file")]
    NoWav,
    #[error("its WAV has an unsupported format: format {format}, {bits} bit, {channels} channels, {rate} Hz")]
    Unknown { format: u16, bits: u16, channels: u16, rate: u32 },
    #[error("its WAV has a header that never ends")]
    Endless,
}

/// A header, and where the samples begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) spec: Spec,
    /// The first byte of the samples.
    pub(super) start: usize,
    /// How many bytes of samples there are. `None`: up to the end.
    pub(super) length: Option<u64>,
}

impl Header {
    /// Bytes of one sample of every channel.
    pub(super) fn frame(&self) -> usize {
        self.spec.sample.bytes() * usize::from(self.spec.channels)
    }
}

/// The longest header that is read, with all that may stand before the samples.
const LONGEST: usize = 64 * 1024;

/// Lengths from here on are those of writers that did not know them: `0x7FFFF000` (espeak-ng) to `0xFFFFFFFF`.
const UNKNOWN_FROM: u32 = 0x7FFF_0000;

/// Reads a header. `None`: more bytes are needed.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    if !b"RIFF".starts_with(&bytes[..bytes.len().min(4)]) || (bytes.len() >= 12 && &bytes[8..12] != b"WAVE") {
        return Err(HeaderError::NoWav);
    }
    let (mut at, mut spec) = (12, None);
    while let Some(chunk) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let body = at + 8;
        if &chunk[..4] == b"data" {
            let spec = spec.ok_or(HeaderError::NoWav)?;
            // Writers that stream put 0 or a very great number.
            let known = length != 0 && length < UNKNOWN_FROM;
            return Ok(Some(Header { spec, start: body, length: known.then_some(u64::from(length)) }));
        }
        if &chunk[..4] == b"fmt " {
            let Some(format) = bytes.get(body..body + 16) else { break };
            spec = Some(read_format(format, bytes.get(body + 24..body + 26))?);
        }
        // Chunks begin at even places.
        at = usize::try_from(length)
            .ok()
            .and_then(|length| body.checked_add(length + length % 2))
            .unwrap_or(usize::MAX / 2);
        if at > LONGEST {
            return Err(HeaderError::Endless);
        }
    }
    if bytes.len() > LONGEST { Err(HeaderError::Endless) } else { Ok(None) }
}

fn read_format(format: &[u8], sub: Option<&[u8]>) -> Result<Spec, HeaderError> {
    const EXTENSIBLE: u16 = 0xFFFE;
    let short = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    let rate = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
    let (channels, bits) = (short(2), short(14));
    let kind = match (short(0), sub) {
        (EXTENSIBLE, Some(sub)) => u16::from_le_bytes([sub[0], sub[1]]),
        (kind, _) => kind,
    };
    let sample = match (kind, bits) {
        (1, 8) => Some(Sample::U8),
        (1, 16) => Some(Sample::I16),
        (1, 24) => Some(Sample::I24),
        (1, 32) => Some(Sample::I32),
        (3, 32) => Some(Sample::F32),
        (3, 64) => Some(Sample::F64),
        _ => None,
    };
    let sample = sample.filter(|_| (1..=8).contains(&channels) && (4_000..=384_000).contains(&rate));
    let unknown = HeaderError::Unknown { format: kind, bits, channels, rate };
    sample.map(|sample| Spec { rate, channels, sample }).ok_or(unknown)
}

impl Sample {
    /// Bytes of one.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// A sample, from -1 to 1.
    #[expect(clippy::cast_possible_truncation, reason = "a sample has no more than 24 bits that can be heard")]
    #[expect(clippy::cast_precision_loss, reason = "the same")]
    pub(super) fn read(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::U8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (Self::I16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (Self::I24, &[a, b, c]) => (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0,
            (Self::I32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f32 / 2_147_483_648.0,
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::F64, bytes) => bytes.try_into().map(f64::from_le_bytes).unwrap_or_default() as f32,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Spec = Spec { rate: RATE, channels: 1, sample: Sample::I16 };

    #[test]
    fn what_is_written_is_read_and_lasts_to_the_end() {
        let header = header();
        assert_eq!(read(&header), Ok(Some(Header { spec: OURS, start: 44, length: None })));
        for length in 0..header.len() {
            assert_eq!(read(&header[..length]), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn other_chunks_are_passed_over_and_lengths_are_believed_if_they_can_be() {
        let mut bytes = header().to_vec();
        bytes.splice(36..36, *b"LIST\x03\0\0\0abc\0");
        bytes[52..56].copy_from_slice(&1000u32.to_le_bytes());
        assert_eq!(read(&bytes), Ok(Some(Header { spec: OURS, start: 56, length: Some(1000) })));
        bytes[52..56].copy_from_slice(&0x7FFF_F000u32.to_le_bytes());
        assert_eq!(read(&bytes).unwrap().unwrap().length, None);
    }

    #[test]
    fn what_is_no_wav_or_none_that_we_know_is_refused() {
        assert_eq!(read(b"<html>"), Err(HeaderError::NoWav));
        assert_eq!(read(b"RIFF\0\0\0\0AVI LIST"), Err(HeaderError::NoWav));
        let mut law = header();
        law[20] = 7;
        assert!(matches!(read(&law), Err(HeaderError::Unknown { format: 7, .. })));
        let mut endless = header();
        endless[36..40].copy_from_slice(b"junk");
        assert_eq!(read(&endless), Err(HeaderError::Endless));
    }

    #[test]
    fn samples_of_every_kind_are_read() {
        assert!((Sample::U8.read(&[192]) - 0.5).abs() < 0.01);
        assert!((Sample::I16.read(&16_384i16.to_le_bytes()) - 0.5).abs() < 0.001);
        assert!((Sample::I24.read(&[0, 0, 0xC0]) + 0.5).abs() < 0.001);
        assert!((Sample::I32.read(&(1i32 << 30).to_le_bytes()) - 0.5).abs() < 0.001);
        assert!((Sample::F32.read(&0.5f32.to_le_bytes()) - 0.5).abs() < 0.001);
        assert!((Sample::F64.read(&0.5f64.to_le_bytes()) - 0.5).abs() < 0.001);
    }
}
