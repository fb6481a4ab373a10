//! The kernel alone: one plain iteration (both half-steps) over divergences, components, precisions and
//! instructions; `cargo bench -p demix-nmf`.
//!
//! A run of several iterations, so that packing the input hardly counts. Given in multiply-adds times two of the products that the update needs, so that a bench reads as the
//! share of the peak that `peak` reports. One thread.

use demix_nmf::kernel::peak_flops;
use demix_nmf::{Acceleration, Nmf, NmfSettings, Scalar, Simd, Start};
use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;

const BINS: usize = 1025;
const FRAMES: usize = 500;
const ITERATIONS: usize = 20;

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("first pool");
    println!("peak of one thread: {:.1} GFLOP/s in single precision", peak_flops(Simd::Native, 5) / 1e9);
    divan::main();
}

/// Deterministic numbers in (0, 1).
fn uniform<T: Scalar>(rows: usize, columns: usize) -> Array2<T> {
    let mut state = 1u64;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::of(((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64)
    })
}

fn iterations<T: Scalar>(bencher: Bencher, beta: f64, components: usize, simd: Simd) {
    let v = uniform::<T>(BINS, FRAMES);
    let (w, h) = (uniform::<T>(BINS, components), uniform::<T>(components, FRAMES));
    let products = match beta {
        1.0 => 4,
        2.0 => 2,
        _ => 6,
    };
    let settings = NmfSettings {
        beta,
        simd,
        iterations: ITERATIONS,
        tolerance: 0.0,
        acceleration: Acceleration::None,
        ..NmfSettings::default()
    };
    let nmf = Nmf::new(settings).expect("valid settings");
    bencher
        .counter(ItemsCount::new(2 * products * BINS * FRAMES * components * ITERATIONS))
        .with_inputs(|| Start { dictionary: w.clone(), activations: h.clone(), held: 0 })
        .bench_values(|start| nmf.factorize_from(v.view(), start, &mut ()).expect("finite"));
}

#[divan::bench(args = [0.0, 0.5, 0.7, 1.0, 2.0, 3.0], sample_count = 5)]
fn divergence(bencher: Bencher, beta: f64) {
    iterations::<f32>(bencher, beta, 50, Simd::Native);
}

#[divan::bench(args = [1, 2, 5, 10, 13, 25, 50, 100, 200], sample_count = 5)]
fn components(bencher: Bencher, components: usize) {
    iterations::<f32>(bencher, 1.0, components, Simd::Native);
}

#[divan::bench(types = [f32, f64], args = [Simd::Native, Simd::Avx2, Simd::Portable], sample_count = 5)]
fn instructions<T: Scalar>(bencher: Bencher, simd: Simd) {
    iterations::<T>(bencher, 1.0, 50, simd);
}
