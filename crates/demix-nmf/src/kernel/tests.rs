//! Every kernel against the plain formulas in double precision.

use super::*;
use ndarray::Array2;

/// Deterministic numbers in 0..1.
fn uniform(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    })
}

/// The oracle: the half-step by the book, matrices written out.
struct Plain {
    right: Array2<f64>,
    divergence: f64,
}

fn plain(
    v: &Array2<f64>,
    left: &Array2<f64>,
    right: &Array2<f64>,
    beta: f64,
    exponent: f64,
    floor: f64,
    update: Range<usize>,
) -> Plain {
    let divergence = Divergence::new(beta);
    let model = left.t().dot(right);
    let r = if beta == 2.0 { model } else { model.mapv(|r| r.max(floor)) };
    let weighted = v * &r.mapv(|r| r.powf(beta - 2.0));
    let numerator = left.dot(&weighted);
    let denominator = left.dot(&r.mapv(|r| r.powf(beta - 1.0)));
    let mut new = right.clone();
    for k in update {
        for j in 0..right.ncols() {
            let (n, d) = (numerator[[k, j]], denominator[[k, j]]);
            new[[k, j]] *= if d > 0.0 { (n / d).powf(exponent) } else { 1.0 };
        }
    }
    let sum = v.iter().zip(&r).map(|(&v, &r)| divergence.of(v, r)).sum();
    Plain { right: new, divergence: sum }
}

/// Largest |a - b| relative to the largest |b|.
fn difference(a: impl Iterator<Item = f64>, b: &Array2<f64>) -> f64 {
    let peak = b.iter().fold(0.0f64, |p, x| p.max(x.abs()));
    a.zip(b).fold(0.0f64, |d, (a, b)| d.max((a - b).abs())) / peak
}

/// One shape, every divergence, with and without held components, against the oracle.
fn compare<T: Scalar>(
    simd: Simd,
    (rows, columns, components): (usize, usize, usize),
    seed: u64,
    tolerance: f64,
) {
    let v = uniform(rows, columns, 1 + seed).mapv(|x| x * x + 1e-3);
    let left = uniform(components, rows, 50 + seed).mapv(|x| x + 0.01);
    let right = uniform(components, columns, 90 + seed).mapv(|x| x + 0.01);
    for beta in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, -0.5, 0.7, 2.4] {
        let first = if components > 2 { seed as usize % 2 } else { 0 };
        let update = first..components;
        let divergence = Divergence::new(beta);
        let exponent = divergence.mm_exponent();
        let floor = 1e-2;
        let want = plain(&v, &left, &right, beta, exponent, floor, update.clone());
        let round = |x: &Array2<f64>| x.mapv(T::of);
        let (v, left, right) = (round(&v), round(&left), round(&right));
        let target = Panels::new(v.view(), simd);
        let mut step = HalfStep {
            target: &target,
            left: &left,
            right: &right,
            update,
            divergence,
            rule: Rule::Multiplicative { exponent },
            floor: T::of(floor),
            sum_divergence: true,
            simd,
        };
        // buffers of another problem must not shine through
        let mut work = Workspace::default();
        let dirty = |n: usize| {
            let mut buffer = demix_signal::simd::Aligned::new(0, T::ZERO);
            buffer.resize(n, T::of(f64::NAN));
            buffer
        };
        work.by_rows = dirty(2 * components * rows.next_multiple_of(ROW_PADDING));
        work.by_components = dirty(2 * components * rows);
        work.spare = Some(Array2::from_elem((components, columns), T::of(f64::NAN)));
        let got = step.run(&mut work);
        let case = format!("{} {rows}x{columns}x{components} beta={beta}", simd.resolved());
        let error = difference(got.right.iter().map(|x| x.to_double()), &want.right);
        assert!(error < tolerance, "{case}: factors differ by {error:e}");
        let constant = divergence.constant(v.view());
        let scale = want.divergence.abs().max(constant.abs()).max(v.iter().map(|x| x.to_double()).sum());
        let error = (got.divergence + constant - want.divergence).abs() / scale;
        assert!(error < tolerance, "{case}: divergence differs by {error:e}");
        step.rule = Rule::Hold;
        let held = step.run(&mut work);
        assert_eq!(held.right, right, "{case}");
        let error = (held.divergence - got.divergence).abs() / scale;
        assert!(error < 1e-12, "{case}: the divergence alone differs by {error:e}");
    }
}

/// One row, one column, one component; tails of every kind; more components than a group.
const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (5, 3, 2), (13, 33, 7), (97, 16, 12), (200, 40, 13), (100, 65, 25), (129, 48, 50)];
const INSTRUCTIONS: [Simd; 3] = [Simd::Native, Simd::Avx2, Simd::Portable];

#[test]
fn single_precision_equals_the_plain_formulas() {
    for simd in INSTRUCTIONS {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            // 200 roundings of 6e-8 in the longest sum, amplified by the exponents
            compare::<f32>(simd, shape, seed as u64, 1e-5);
        }
    }
}

#[test]
fn double_precision_equals_the_plain_formulas() {
    for simd in INSTRUCTIONS {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            compare::<f64>(simd, shape, seed as u64, 1e-13);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 60,
        // a failure is reproduced by its printed shape; no files beside the source
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_shape_equals_the_plain_formulas(
        rows in 1usize..110,
        columns in 1usize..70,
        components in 1usize..=30,
        simd in 0usize..3,
        seed in 0u64..1000,
    ) {
        let shape = (rows, columns, components);
        compare::<f32>(INSTRUCTIONS[simd], shape, seed, 1e-5);
        compare::<f64>(INSTRUCTIONS[simd], shape, seed, 1e-13);
    }
}

/// b = 1 with a bold exponent: the book's step, then every column at its best level.
#[test]
fn bold_steps_keep_the_level_of_every_column() {
    let (v, left, right) = (uniform(40, 21, 1), uniform(5, 40, 2) + 0.01, uniform(5, 21, 3) + 0.01);
    let target = Panels::new(v.view(), Simd::Native);
    for (update, balanced) in [(0..5, true), (2..5, false)] {
        let mut want = plain(&v, &left, &right, 1.0, 1.75, 1e-6, update.clone()).right;
        if balanced {
            let level = left.t().dot(&want).sum_axis(Axis(0));
            want *= &(v.sum_axis(Axis(0)) / level);
        }
        let got = HalfStep {
            target: &target,
            left: &left,
            right: &right,
            update,
            divergence: Divergence::KullbackLeibler,
            rule: Rule::Multiplicative { exponent: 1.75 },
            floor: 1e-6,
            sum_divergence: false,
            simd: Simd::Native,
        }
        .run(&mut Workspace::default());
        assert!(difference(got.right.iter().copied(), &want) < 1e-12, "{balanced}");
    }
}

/// Ordinary least squares row by row, as hierarchical alternating least squares does it.
#[test]
fn hierarchical_sweeps_minimise_one_component_after_another() {
    let (v, left, right) = (uniform(40, 21, 1), uniform(5, 40, 2), uniform(5, 21, 3));
    let mut want = right.clone();
    for _ in 0..3 {
        for k in 0..5 {
            for j in 0..21 {
                let rest: Vec<f64> = (0..40)
                    .map(|i| {
                        v[[i, j]]
                            - (0..5).filter(|&l| l != k).map(|l| left[[l, i]] * want[[l, j]]).sum::<f64>()
                    })
                    .collect();
                let (a, b) = (0..40)
                    .fold((0.0, 0.0), |(a, b), i| (a + left[[k, i]] * rest[i], b + left[[k, i]].powi(2)));
                want[[k, j]] = (a / b).max(0.0);
            }
        }
    }
    let target = Panels::new(v.view(), Simd::Native);
    let got = HalfStep {
        target: &target,
        left: &left,
        right: &right,
        update: 0..5,
        divergence: Divergence::Euclidean,
        rule: Rule::Hierarchical { sweeps: 3 },
        floor: 0.0,
        sum_divergence: false,
        simd: Simd::Native,
    }
    .run(&mut Workspace::default());
    assert!(difference(got.right.iter().copied(), &want) < 1e-12);
}

#[test]
fn threads_do_not_change_a_bit() {
    let (v, left, right) = (uniform(300, 500, 1), uniform(20, 300, 2), uniform(20, 500, 3));
    let [v, left, right] = [v, left, right].map(|x| x.mapv(|x| x as f32 + 0.01));
    for beta in [0.0, 1.0, 2.0] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let target = Panels::new(v.view(), Simd::Native);
                HalfStep {
                    target: &target,
                    left: &left,
                    right: &right,
                    update: 0..20,
                    divergence: Divergence::new(beta),
                    rule: Rule::Multiplicative { exponent: 1.0 },
                    floor: 1e-6,
                    sum_divergence: true,
                    simd: Simd::Native,
                }
                .run(&mut Workspace::default())
            })
        };
        let (one, three) = (run(1), run(3));
        assert_eq!(one.right, three.right);
        assert_eq!(one.divergence.to_bits(), three.divergence.to_bits());
    }
}

/// A component that nothing speaks for or against (0 / 0) stays as it is.
#[test]
fn empty_components_keep_their_activations() {
    let (v, mut left, right) = (uniform(30, 20, 1), uniform(4, 30, 2), uniform(4, 20, 3));
    left.row_mut(2).fill(0.0);
    for simd in INSTRUCTIONS {
        for beta in [0.0, 0.5, 1.0, 2.0] {
            let target = Panels::new(v.view(), simd);
            let rule = Rule::Multiplicative { exponent: Divergence::new(beta).mm_exponent() };
            let rules = if beta == 2.0 { vec![rule, Rule::Hierarchical { sweeps: 2 }] } else { vec![rule] };
            for rule in rules {
                let got = HalfStep {
                    target: &target,
                    left: &left,
                    right: &right,
                    update: 0..4,
                    divergence: Divergence::new(beta),
                    rule,
                    floor: 1e-6,
                    sum_divergence: false,
                    simd,
                }
                .run(&mut Workspace::default());
                assert_eq!(got.right.row(2), right.row(2), "{simd} beta={beta} {rule:?}");
                assert_ne!(got.right.row(1), right.row(1), "{simd} beta={beta} {rule:?}");
            }
        }
    }
}

#[test]
fn inverses_are_accurate() {
    fn worst<L: Lanes<Real = f32>>() -> f64 {
        let mut worst = 0.0f64;
        let mut x = 1e-36f32;
        while x < 1e36 {
            let mut out = [0.0f32; 16];
            // SAFETY: called for instructions that the processor has; 16 holds every register.
            unsafe { L::splat(x).inverse().store(out.as_mut_ptr()) };
            worst = worst.max((f64::from(out[0]) * f64::from(x) - 1.0).abs());
            x *= 1.0007;
        }
        worst
    }
    // two units in the last place
    assert!(worst::<lanes::Portable<f32, 4>>() < 1.2e-7);
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            assert!(worst::<lanes::x86::Avx512F32>() < 1.2e-7);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            assert!(worst::<lanes::x86::Avx2F32>() < 1.2e-7);
        }
    }
}

#[test]
fn logarithms_are_accurate() {
    fn worst<L: Lanes<Real = f32>>() -> f64 {
        let mut worst = 0.0f64;
        let mut x = 1e-30f32;
        while x < 1e30 {
            let mut out = [0.0f32; 16];
            // SAFETY: called for instructions that the processor has; 16 holds every register.
            unsafe { L::splat(x).ln().store(out.as_mut_ptr()) };
            let exact = f64::from(x).ln();
            worst = worst.max((f64::from(out[0]) - exact).abs() / exact.abs().max(1e-3));
            x *= 1.003;
        }
        worst
    }
    assert!(worst::<lanes::Portable<f32, 4>>() < 3e-7);
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            assert!(worst::<lanes::x86::Avx512F32>() < 3e-7);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            assert!(worst::<lanes::x86::Avx2F32>() < 3e-7);
        }
    }
}
