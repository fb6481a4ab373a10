//! Writing FLAC (RFC 9639), block by block, in constant memory.
//!
//! A block of each channel (of two, also their mid and side) is predicted by the fixed polynomials
//! of section 9.2.5, the residual e is Rice coded in partitions; the cheapest of these, the plain
//! samples and a constant is written:
//!
//! ```text
//! e_0[t] = x[t],  e_(p+1)[t] = e_p[t] - e_p[t-1],  p = 0..4                          (9.2.5)
//! u = 2 e  (e >= 0),  -2 e - 1  (e < 0);  u >> k ones' worth in unary, k low bits    (9.2.7)
//! ```
//! No estimate is below the true size, so no block grows beyond its plain samples.

use std::io::{self, Seek, SeekFrom, Write};

use md5::{Digest, Md5};

use super::quantise::Quantiser;
use super::write::Prepared;

/// The highest rate that every decoder must expect (section 9.1.2).
pub(super) const MAX_RATE: u32 = 655_350;

const BLOCK: usize = 4096;
const MAX_ORDER: usize = 4;
/// Partitions of 64 samples and more.
const MAX_PARTITION_ORDER: u32 = 6;
/// 31 in five bits would announce unencoded residuals.
const MAX_RICE: u32 = 30;
const HEADER_BYTES: usize = 42;

/// Writes the whole file, and returns its size in bytes.
pub(super) fn write(
    file: &mut (impl Write + Seek),
    prepared: &mut Prepared,
    bits: u32,
    mut quantiser: Quantiser,
) -> io::Result<u64> {
    let (channels, n) = (prepared.waveform.n_channels(), prepared.waveform.n_samples());
    let rate = prepared.waveform.sample_rate;
    let mut block = vec![Vec::with_capacity(BLOCK); channels];
    let mut checksum = Md5::new();
    let mut interleaved = Vec::with_capacity(BLOCK * channels * 3);

    // a placeholder: frame sizes and checksum are known at the end
    file.write_all(&[0; HEADER_BYTES])?;
    let mut bytes = HEADER_BYTES as u64;
    let (mut smallest, mut largest) = (u32::MAX, 0);
    for (number, first) in (0..n).step_by(BLOCK).enumerate() {
        block.iter_mut().for_each(Vec::clear);
        interleaved.clear();
        for sample in first..n.min(first + BLOCK) {
            for (channel, block) in block.iter_mut().enumerate() {
                let value = quantiser.quantise(prepared.sample(channel, sample));
                block.push(value);
                interleaved.extend_from_slice(&value.to_le_bytes()[..bits as usize / 8]);
            }
        }
        checksum.update(&interleaved);
        let frame = frame(&block, number as u64, rate, bits);
        file.write_all(&frame)?;
        bytes += frame.len() as u64;
        smallest = smallest.min(frame.len() as u32);
        largest = largest.max(frame.len() as u32);
    }
    let md5 = checksum.finalize().into();
    let header = header(rate, channels, bits, n as u64, [smallest, largest], md5);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    Ok(bytes)
}

/// `fLaC` and the STREAMINFO block, section 8.2.
fn header(
    rate: u32,
    channels: usize,
    bits: u32,
    n: u64,
    frame_bytes: [u32; 2],
    md5: [u8; 16],
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(b"fLaC\x80\0\0\x22");
    // smallest and largest block: the last one, which may be shorter, does not count
    for size in [8, 10] {
        header[size..size + 2].copy_from_slice(&(BLOCK as u16).to_be_bytes());
    }
    for (at, size) in [12, 15].into_iter().zip(frame_bytes) {
        header[at..at + 3].copy_from_slice(&size.to_be_bytes()[1..]);
    }
    // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of length (0: unknown)
    let n = if n < 1 << 36 { n } else { 0 };
    let packed = u64::from(rate) << 44 | (channels as u64 - 1) << 41 | u64::from(bits - 1) << 36 | n;
    header[18..26].copy_from_slice(&packed.to_be_bytes());
    header[26..].copy_from_slice(&md5);
    header
}

/// One frame, section 9: header, a subframe per channel, checksum.
fn frame(block: &[Vec<i32>], number: u64, rate: u32, bits: u32) -> Vec<u8> {
    let (assignment, subframes) = subframes(block, bits);
    let n = block[0].len();
    let mut out = Bits::default();
    out.put(0b111_1111_1111_1100, 15); // synchronisation, and a reserved zero
    out.put(0, 1); // blocks of one size
    let (size_code, size_bits) = match n {
        BLOCK => (12, 0),
        ..=256 => (6, 8),
        _ => (7, 16),
    };
    out.put(size_code, 4);
    out.put(rate_code(rate), 4);
    out.put(assignment, 4);
    out.put(if bits == 16 { 4 } else { 6 }, 3);
    out.put(0, 1);
    out.put_number(number);
    out.put(n as u64 - 1, size_bits);
    let checksum = crc(&out.bytes, 8, 0x07);
    out.put(checksum, 8);
    for subframe in subframes {
        subframe.write(&mut out);
    }
    out.pad();
    let checksum = crc(&out.bytes, 16, 0x8005);
    out.put(checksum, 16);
    out.bytes
}

/// Section 9.1.2; 0 refers to the stream header, which holds every rate.
fn rate_code(rate: u32) -> u64 {
    match rate {
        88_200 => 1,
        176_400 => 2,
        192_000 => 3,
        8_000 => 4,
        16_000 => 5,
        22_050 => 6,
        24_000 => 7,
        32_000 => 8,
        44_100 => 9,
        48_000 => 10,
        96_000 => 11,
        _ => 0,
    }
}

/// The channel assignment of section 9.1.3, and the subframes in its order.
fn subframes(block: &[Vec<i32>], bits: u32) -> (u64, Vec<Subframe>) {
    let [left, right] = block else {
        let subframes = block.iter().map(|x| Subframe::best(x.clone(), bits)).collect();
        return (block.len() as u64 - 1, subframes);
    };
    let pairs = || left.iter().zip(right);
    let mid = Subframe::best(pairs().map(|(l, r)| (l + r) >> 1).collect(), bits);
    // the side needs a bit more; with it, mid may lose its lowest one
    let side = Subframe::best(pairs().map(|(l, r)| l - r).collect(), bits + 1);
    let left = Subframe::best(left.clone(), bits);
    let right = Subframe::best(right.clone(), bits);
    let costs = [
        (1, left.cost + right.cost),
        (8, left.cost + side.cost),
        (9, side.cost + right.cost),
        (10, mid.cost + side.cost),
    ];
    let assignment = costs.iter().min_by_key(|(_, cost)| *cost).map_or(1, |(assignment, _)| *assignment);
    let pair = match assignment {
        8 => vec![left, side],
        9 => vec![side, right],
        10 => vec![mid, side],
        _ => vec![left, right],
    };
    (assignment, pair)
}

/// A block of one channel and how to write it, section 9.2.
struct Subframe {
    samples: Vec<i32>,
    /// Bits per sample, the wasted ones excluded.
    bits: u32,
    /// Lowest bits that are 0 in all samples.
    wasted: u32,
    coding: Coding,
    /// Size in bits; never less than the true one.
    cost: u64,
}

enum Coding {
    Constant,
    Verbatim,
    Fixed { order: usize, residual: Vec<i32>, rice: Rice },
}

impl Subframe {
    fn best(mut samples: Vec<i32>, bits: u32) -> Self {
        let head = 8;
        if samples.iter().all(|x| *x == samples[0]) {
            return Self { cost: head + u64::from(bits), samples, bits, wasted: 0, coding: Coding::Constant };
        }
        let wasted = samples.iter().fold(0, |all, x| all | x).trailing_zeros();
        samples.iter_mut().for_each(|x| *x >>= wasted);
        let bits = bits - wasted;
        let head = head + u64::from(wasted);

        let (order, residual) = predict(&samples);
        let rice = Rice::best(&residual, samples.len(), order);
        let fixed = head + order as u64 * u64::from(bits) + rice.cost;
        let verbatim = head + samples.len() as u64 * u64::from(bits);
        if fixed < verbatim {
            let coding = Coding::Fixed { order, residual, rice };
            Self { samples, bits, wasted, coding, cost: fixed }
        } else {
            Self { samples, bits, wasted, coding: Coding::Verbatim, cost: verbatim }
        }
    }

    fn write(&self, out: &mut Bits) {
        out.put(0, 1);
        out.put(
            match &self.coding {
                Coding::Constant => 0,
                Coding::Verbatim => 1,
                Coding::Fixed { order, .. } => 8 + *order as u64,
            },
            6,
        );
        match self.wasted {
            0 => out.put(0, 1),
            wasted => {
                out.put(1, 1);
                out.put_unary(wasted - 1);
            }
        }
        match &self.coding {
            Coding::Constant => out.put_signed(self.samples[0], self.bits),
            Coding::Verbatim => self.samples.iter().for_each(|x| out.put_signed(*x, self.bits)),
            Coding::Fixed { order, residual, rice } => {
                self.samples[..*order].iter().for_each(|x| out.put_signed(*x, self.bits));
                rice.write(residual, self.samples.len(), *order, out);
            }
        }
    }
}

/// The order with the smallest residual, and that residual, as long as `samples` less the order.
///
/// Differences of order 4 of 25-bit samples have 29 bits: nothing overflows.
fn predict(samples: &[i32]) -> (usize, Vec<i32>) {
    let mut residual = samples.to_vec();
    let (mut best, mut least) = ((0, residual.clone()), u64::MAX);
    for order in 0..=MAX_ORDER.min(samples.len() - 1) {
        if order > 0 {
            for t in 0..residual.len() - 1 {
                residual[t] = residual[t + 1] - residual[t];
            }
            residual.pop();
        }
        // over the same samples for every order
        let compared = &residual[(MAX_ORDER - order).min(residual.len())..];
        let sum = compared.iter().map(|e| u64::from(e.unsigned_abs())).sum();
        if sum < least {
            (best, least) = ((order, residual.clone()), sum);
        }
    }
    best
}

/// Rice parameters of a residual, section 9.2.7.
struct Rice {
    partition_order: u32,
    parameters: Vec<u32>,
    cost: u64,
}

impl Rice {
    /// The partition and parameters with the smallest bound on the size, for a block of `n`.
    fn best(residual: &[i32], n: usize, order: usize) -> Self {
        let allowed = |p: &u32| n.is_multiple_of(1 << p) && n >> p > order && (*p == 0 || n >> p >= 64);
        let orders = (0..=MAX_PARTITION_ORDER).filter(allowed);
        let candidates = orders.map(|partition_order| {
            let choices: Vec<_> =
                partitions(residual, n, order, partition_order).map(rice_parameter).collect();
            // 2 bits of method, 4 of partition order
            let cost = 6 + choices.iter().map(|(_, cost)| cost).sum::<u64>();
            Self { partition_order, parameters: choices.into_iter().map(|(k, _)| k).collect(), cost }
        });
        candidates.min_by_key(|rice| rice.cost).unwrap_or(Self {
            partition_order: 0,
            parameters: vec![MAX_RICE],
            cost: u64::MAX / 2,
        })
    }

    fn write(&self, residual: &[i32], n: usize, order: usize, out: &mut Bits) {
        let wide = self.parameters.iter().any(|k| *k > 14);
        out.put(u64::from(wide), 2);
        out.put(self.partition_order.into(), 4);
        for (part, k) in partitions(residual, n, order, self.partition_order).zip(&self.parameters) {
            out.put((*k).into(), if wide { 5 } else { 4 });
            for u in part.iter().copied().map(fold) {
                out.put_unary(u >> k);
                out.put(u64::from(u) & ((1 << k) - 1), *k);
            }
        }
    }
}

/// The parts of a residual; the first lacks the samples that start the prediction.
fn partitions(
    residual: &[i32],
    n: usize,
    order: usize,
    partition_order: u32,
) -> impl Iterator<Item = &[i32]> {
    let length = n >> partition_order;
    let (first, rest) = residual.split_at(length - order);
    std::iter::once(first).chain(rest.chunks(length))
}

/// The Rice parameter of a partition, and a bound on its size: the sum of u >> k is at most
/// (sum of u) >> k.
fn rice_parameter(part: &[i32]) -> (u32, u64) {
    let sum: u64 = part.iter().map(|e| u64::from(fold(*e))).sum();
    let n = part.len() as u64;
    let guess = (sum / n.max(1)).checked_ilog2().unwrap_or(0);
    let near = guess.saturating_sub(1)..=(guess + 1).min(MAX_RICE);
    let costs = near.map(|k| (k, 5 + n * u64::from(k + 1) + (sum >> k)));
    costs.min_by_key(|(_, cost)| *cost).unwrap_or((MAX_RICE, u64::MAX / 2))
}

/// Signed to unsigned: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4.
fn fold(e: i32) -> u32 {
    ((e << 1) ^ (e >> 31)).cast_unsigned()
}

/// A row of bits, highest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u64,
    n_pending: u32,
}

impl Bits {
    /// The lowest `n` bits of `value`, at most 32.
    fn put(&mut self, value: u64, n: u32) {
        self.pending = self.pending << n | value;
        self.n_pending += n;
        while self.n_pending >= 8 {
            self.n_pending -= 8;
            self.bytes.push((self.pending >> self.n_pending) as u8);
        }
        self.pending &= (1 << self.n_pending) - 1;
    }

    fn put_signed(&mut self, value: i32, n: u32) {
        self.put(u64::from(value.cast_unsigned()) & ((1 << n) - 1), n);
    }

    /// So many zeros, and a one.
    fn put_unary(&mut self, mut zeros: u32) {
        while zeros > 31 {
            self.put(0, 32);
            zeros -= 32;
        }
        self.put(1, zeros + 1);
    }

    /// A number of up to 36 bits, coded as UTF-8 codes characters (section 9.1.5).
    fn put_number(&mut self, number: u64) {
        if number < 0x80 {
            return self.put(number, 8);
        }
        // each further byte holds 6 bits, and takes one from the first
        let further = (1..=6).find(|further| number < 1 << (5 * further + 6)).unwrap_or(6);
        self.put((0xff << (7 - further)) & 0xff | number >> (6 * further), 8);
        for byte in (0..further).rev() {
            self.put(0x80 | number >> (6 * byte) & 0x3f, 8);
        }
    }

    /// Zeros up to the next byte.
    fn pad(&mut self) {
        self.put(0, (8 - self.n_pending) % 8);
    }
}

/// Checksum of `width` bits by the polynomial, highest bit first.
fn crc(bytes: &[u8], width: u32, polynomial: u64) -> u64 {
    let top = 1 << (width - 1);
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte) << (width - 8), |crc, _| {
            let shifted = crc << 1;
            (if crc & top != 0 { shifted ^ polynomial } else { shifted }) & ((1 << width) - 1)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_the_usual_test_word() {
        assert_eq!(crc(b"123456789", 8, 0x07), 0xf4);
        assert_eq!(crc(b"123456789", 16, 0x8005), 0xfee8);
    }

    #[test]
    fn numbers_are_coded_as_utf8() {
        for character in ['\u{7f}', '\u{80}', '\u{7ff}', '\u{800}', '\u{ffff}', '\u{10000}'] {
            let mut out = Bits::default();
            out.put_number(character.into());
            assert_eq!(out.bytes, character.to_string().into_bytes());
        }
        let mut out = Bits::default();
        out.put_number((1 << 31) - 1);
        assert_eq!(out.bytes, [0xfd, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf]);
    }

    #[test]
    fn the_bound_on_the_size_holds() {
        let mut x = 1u32;
        for scale in [1, 100, 30_000, 8_000_000] {
            let samples: Vec<i32> = (0..4096)
                .map(|_| {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (x >> 8) as i32 % scale
                })
                .collect();
            let subframe = Subframe::best(samples, 24);
            let mut out = Bits::default();
            subframe.write(&mut out);
            let true_bits = 8 * out.bytes.len() as u64 + u64::from(out.n_pending);
            assert!(true_bits <= subframe.cost, "{true_bits} bits, bound {}", subframe.cost);
            assert!(subframe.cost <= 8 + 24 * 4096);
        }
    }
}
