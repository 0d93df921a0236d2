//! From one rate to another, without what the ear would hear of the difference.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, WindowFunction};

/// Samples that are taken at once: 20 ms at 24 kHz.
const CHUNK: usize = 480;

/// The length of the filter, in samples. Speech has little at the upper end of what there is.
const FILTER: usize = 128;

/// Makes samples of another rate, as they come.
pub(super) struct Resampler {
    filter: Async<f32>,
    from: u32,
    to: u32,
    waiting: Vec<f32>,
    taken: u64,
    given: u64,
    /// Samples at the beginning that are the filter's own.
    ahead: usize,
    out: Vec<f32>,
}

impl Resampler {
    /// From a rate to another, in samples a second. `None`: there is no way.
    pub(super) fn new(from: u32, to: u32) -> Option<Self> {
        let parameters = SincInterpolationParameters::new(FILTER, WindowFunction::BlackmanHarris2);
        let ratio = f64::from(to) / f64::from(from);
        let filter = Async::new_sinc(ratio, 1.0, &parameters, CHUNK, 1, FixedAsync::Input).ok()?;
        let (ahead, room) = (filter.output_delay(), filter.output_frames_max());
        Some(Self { filter, from, to, waiting: Vec::new(), taken: 0, given: 0, ahead, out: vec![0.0; room] })
    }

    /// Takes samples; adds to `out` what they become.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        self.waiting.extend_from_slice(samples);
        let mut at = 0;
        while self.waiting.len() - at >= CHUNK {
            self.step(at, CHUNK, out);
            at += CHUNK;
        }
        self.waiting.drain(..at);
    }

    /// There are no more samples: adds the rest to `out`.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let wanted = self.taken * u64::from(self.to) / u64::from(self.from);
        let mut left = self.waiting.len();
        self.waiting.resize(CHUNK, 0.0);
        while self.given < wanted {
            let before = out.len();
            self.step(0, left, out);
            left = 0;
            if self.given > wanted {
                let over = usize::try_from(self.given - wanted).unwrap_or_default();
                out.truncate(out.len().saturating_sub(over).max(before));
                self.given = wanted;
            }
        }
        self.waiting.clear();
    }

    fn step(&mut self, at: usize, length: usize, out: &mut Vec<f32>) {
        let room = self.out.len();
        let indexing = Indexing { partial_len: (length < CHUNK).then_some(length), ..Indexing::default() };
        let Ok(input) = InterleavedSlice::new(&self.waiting[at..at + CHUNK], 1, CHUNK) else { return };
        let Ok(mut output) = InterleavedSlice::new_mut(&mut self.out, 1, room) else { return };
        let Ok((_, made)) = self.filter.process_into_buffer(&input, &mut output, Some(&indexing)) else { return };
        let skip = self.ahead.min(made);
        self.ahead -= skip;
        out.extend_from_slice(&self.out[skip..made]);
        self.given += (made - skip) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::speech::wav::RATE;

    /// A tone of 1 kHz.
    #[expect(clippy::cast_precision_loss, reason = "a second of samples")]
    fn tone(rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|at| (at as f32 * TAU * 1000.0 / rate as f32).sin() * 0.5).collect()
    }

    #[test]
    fn a_tone_stays_itself_whatever_its_rate_and_pieces() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000] {
            for piece in [7, 480, 10_000] {
                let mut resampler = Resampler::new(rate, RATE).unwrap();
                let mut out = Vec::new();
                for samples in tone(rate, rate as usize).chunks(piece) {
                    resampler.push(samples, &mut out);
                }
                resampler.finish(&mut out);
                assert_eq!(out.len(), RATE as usize, "{rate} Hz in pieces of {piece}");
                let expected = tone(RATE, RATE as usize);
                // The delay of the filter is no whole number of samples: half a one of this tone is 0.07.
                let worst = |shift: usize| {
                    let pairs = out[2_000..22_000].iter().zip(&expected[1_999 + shift..]);
                    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
                };
                let worst = (0..3).map(worst).fold(f32::MAX, f32::min);
                assert!(worst < 0.07, "{rate} Hz in pieces of {piece}: {worst}");
            }
        }
    }
}
