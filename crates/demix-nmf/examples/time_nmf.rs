//! Times the factorisation of a matrix for `bench/nmf.py`; prints one JSON object.
//!
//! time_nmf V.npy W0.npy H0.npy BETA ITERATIONS THREADS none|extrapolated [TARGET_COST]
//!
//! All arrays are float32 in C order. `seconds_per_iteration` is the difference of a run and one of a single
//! iteration, so that packing the input is not counted, `cpu_seconds_per_iteration` the same in processor time
//! of all threads, which other programs on the machine disturb less (Linux only);
//! `peak_gflops` is the measured FMA peak of one thread.

use std::time::Instant;

use demix_nmf::kernel::peak_flops;
use demix_nmf::{Acceleration, Nmf, NmfSettings, Order, Simd, Start};
use demix_signal::Progress;
use ndarray::Array2;

fn matrix(path: &str) -> Array2<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let file = npyz::NpyFile::new(&bytes[..]).expect("an npy file");
    let shape = (file.shape()[0] as usize, file.shape()[1] as usize);
    Array2::from_shape_vec(shape, file.into_vec().expect("float32")).expect("C order")
}

/// Processor time of all threads so far, where the system tells it.
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds * 1e-9)
}

/// Least wall and processor seconds of one more iteration.
#[derive(Clone, Copy)]
struct Seconds {
    wall: f64,
    cpu: f64,
}

impl Seconds {
    const MOST: Self = Self { wall: f64::INFINITY, cpu: f64::INFINITY };
    fn min(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [v, w, h] = [0, 1, 2].map(|n| matrix(&args[n]));
    let beta: f64 = args[3].parse().expect("beta");
    let iterations: usize = args[4].parse().expect("iterations");
    let threads: usize = args[5].parse().expect("threads");
    let acceleration = if args[6] == "none" { Acceleration::None } else { Acceleration::Extrapolated };
    let target_cost: Option<f64> = args.get(7).map(|x| x.parse().expect("cost"));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("first pool");
    let settings = NmfSettings {
        beta,
        acceleration,
        tolerance: 0.0,
        order: Order::WFirst,
        normalize: false,
        floor: Some(1e-9),
        ..NmfSettings::default()
    };
    let start = || Start { dictionary: w.clone(), activations: h.clone(), held: 0 };
    let run = |iterations: usize, target: Option<f64>| {
        let nmf = Nmf::new(NmfSettings { iterations, ..settings.clone() }).expect("valid settings");
        let (clock, cpu) = (Instant::now(), cpu_seconds());
        let mut reached = None;
        let mut watch = |p: Progress| {
            if reached.is_none() && target.is_some_and(|target| p.cost.is_some_and(|c| c <= target)) {
                // the cost is that before this iteration
                reached = Some((p.done - 1, clock.elapsed().as_secs_f64()));
            }
            reached.is_none()
        };
        let found = nmf.factorize_from(v.view(), start(), &mut watch).ok();
        let wall = clock.elapsed().as_secs_f64();
        let cpu = cpu_seconds().zip(cpu).map_or(f64::NAN, |(now, then)| now - then);
        (Seconds { wall, cpu }, found.and_then(|f| f.cost.last().copied()), reached)
    };
    // the least of several: other work on the machine only ever adds time
    let (mut one, mut many) = (Seconds::MOST, Seconds::MOST);
    for _ in 0..6 {
        one = one.min(run(1, None).0);
        many = many.min(run(iterations + 1, None).0);
    }
    let wall = (many.wall - one.wall) / iterations as f64;
    let cpu = (many.cpu - one.cpu) / iterations as f64;
    let (_, cost, _) = run(iterations, None);
    let to_target = target_cost.map(|target| run(iterations, Some(target)).2);
    let peak = peak_flops(Simd::Native, 5);
    let flops = {
        let (i, j, k) = (v.nrows() as f64, v.ncols() as f64, w.ncols() as f64);
        let products = match beta {
            1.0 => 4.0,
            2.0 => 2.0,
            _ => 6.0,
        };
        2.0 * products * i * j * k
    };
    let (to_iterations, to_seconds) = to_target.flatten().unzip();
    let json = serde_json::json!({
        "simd": Simd::Native.resolved(),
        "seconds_per_iteration": wall,
        "cpu_seconds_per_iteration": cpu.is_finite().then_some(cpu),
        "cost": cost,
        "gflops": flops / wall / 1e9,
        "peak_gflops": peak / 1e9,
        "peak_share": flops / wall / (peak * threads as f64),
        "cpu_peak_share": cpu.is_finite().then_some(flops / cpu / peak),
        "iterations_to_target": to_iterations,
        "seconds_to_target": to_seconds,
    });
    println!("{json}");
}
