//! What the processor could do at most, for honest benchmarks.

use std::time::Instant;

use super::{Isa, Simd};
use demix_signal::simd::{self as lanes, Lanes};

/// Independent chains: enough to hide the latency of a fused multiply-add on any processor.
const CHAINS: usize = 12;
const ROUNDS: usize = 200_000;

/// Single-precision multiply-adds per second of one thread times two, measured: registers only, no memory.
///
/// Runs for some milliseconds and returns the best of `tries`.
pub fn peak_flops(simd: Simd, tries: usize) -> f64 {
    (0..tries.max(1)).map(|_| once(simd.isa())).fold(0.0, f64::max)
}

fn once(isa: Isa) -> f64 {
    let start = Instant::now();
    // SAFETY: Simd::isa asked the processor for the instructions.
    let (sum, lanes) = unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (avx512(), lanes::x86::Avx512F32::N),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (avx2(), lanes::x86::Avx2F32::N),
            Isa::Portable => (chains::<lanes::Portable<f32, 4>>(), 4),
        }
    };
    std::hint::black_box(sum);
    (2 * CHAINS * ROUNDS * lanes) as f64 / start.elapsed().as_secs_f64()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn avx512() -> f32 {
    unsafe { chains::<lanes::x86::Avx512F32>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2() -> f32 {
    unsafe { chains::<lanes::x86::Avx2F32>() }
}

#[inline(always)]
unsafe fn chains<L: Lanes<Real = f32>>() -> f32 {
    unsafe {
        let factor = L::splat(std::hint::black_box(0.999_999));
        let term = L::splat(std::hint::black_box(1e-6));
        let mut sums = [L::splat(std::hint::black_box(1.0)); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, term);
            }
        }
        let mut out = [0.0f32; 16];
        let mut total = sums[0];
        for sum in &sums[1..] {
            total = total.add(*sum);
        }
        total.store(out.as_mut_ptr());
        out[0]
    }
}
