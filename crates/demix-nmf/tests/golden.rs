//! Factors and cost against scikit-learn and the plain formulas: 1e-8 relative at iterations 1, 10 and 100.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::path::Path;

use demix_nmf::{Acceleration, Exponent, Nmf, NmfSettings, Order, Simd, Start};
use ndarray::Array2;

fn matrix(case: &str, name: &str) -> Array2<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/").join(case).join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = file.shape().to_vec();
    let columns = shape.get(1).copied().unwrap_or(1) as usize;
    Array2::from_shape_vec((shape[0] as usize, columns), file.into_vec().unwrap()).unwrap()
}

fn agree(case: &str, beta: f64, exponent: Exponent, prefix: &str) {
    let v = matrix(case, "V.npy");
    let cost = matrix(case, &format!("{prefix}_cost.npy"));
    for simd in [Simd::Native, Simd::Avx2, Simd::Portable] {
        for iterations in [1, 10, 100] {
            let settings = NmfSettings {
                beta,
                iterations,
                exponent,
                simd,
                tolerance: 0.0,
                acceleration: Acceleration::None,
                order: Order::WFirst,
                floor: Some(0.0),
                normalize: false,
                ..NmfSettings::default()
            };
            let start =
                Start { dictionary: matrix(case, "W0.npy"), activations: matrix(case, "H0.npy"), held: 0 };
            let got = Nmf::new(settings).unwrap().factorize_from(v.view(), start, &mut ()).unwrap();
            let close = |name: &str, got: &Array2<f64>| {
                let want = matrix(case, &format!("{prefix}_{name}_{iterations}.npy"));
                let peak = want.iter().fold(0.0f64, |p, x| p.max(x.abs()));
                for (got, want) in got.iter().zip(&want) {
                    let error = (got - want).abs() / peak;
                    assert!(error < 1e-8, "{case} {name} at {iterations}: {got} instead of {want}");
                }
            };
            close("W", &got.dictionary);
            close("H", &got.activations);
            assert_eq!(got.cost.len(), iterations + 1);
            for (n, (got, want)) in got.cost.iter().zip(&cost).enumerate() {
                assert!((got - want).abs() < 1e-8 * want, "{case} cost[{n}]: {got} instead of {want}");
            }
        }
    }
}

#[test]
fn equals_scikit_learn() {
    for (case, beta) in [
        ("beta_0", 0.0),
        ("beta_0.5", 0.5),
        ("beta_1", 1.0),
        ("beta_1.5", 1.5),
        ("beta_2", 2.0),
        ("beta_3", 3.0),
    ] {
        agree(case, beta, Exponent::Mm, "mm");
    }
}

#[test]
fn equals_the_heuristic_rule() {
    agree("beta_0", 0.0, Exponent::Heuristic, "plain");
    agree("beta_0.5", 0.5, Exponent::Heuristic, "plain");
}
