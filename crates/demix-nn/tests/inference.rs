//! Inference: scale, shape, threads, refusals.

mod common;

use common::{LOSSES, examples, excerpt, header, settings};
use demix_nn::{DeviceName, InputName, Loss, Network, NnError, OutputName, Trainer};
use ndarray::{Array2, concatenate};

fn trained(loss: Loss, input: InputName, output: OutputName) -> Network {
    let mut header = header(loss);
    (header.network.input, header.network.output) = (input, output);
    let mut trainer = Trainer::new(header, settings()).expect("a good header");
    trainer.epoch(&examples, 20, &mut ()).expect("excerpts that sound");
    trainer.network()
}

fn nu_of(loss: Loss) -> Option<f64> {
    matches!(loss, Loss::ConditionedProduct { .. }).then_some(100.0)
}

/// 320 frames: two blocks.
fn long() -> Array2<f32> {
    let parts: Vec<Array2<f32>> = (50..70).map(|index| excerpt(index).mixture).collect();
    concatenate(ndarray::Axis(1), &parts.iter().map(|part| part.view()).collect::<Vec<_>>())
        .expect("one height")
}

#[test]
fn the_estimate_grows_with_the_sound() {
    let magnitude = long();
    for (input, output) in [(InputName::Bands, OutputName::Mask), (InputName::Linear, OutputName::Relu)] {
        for loss in [Loss::SquareRoot, Loss::EmpiricalBayes] {
            let network = trained(loss, input, output);
            let loud = network.estimate(magnitude.view(), None).unwrap();
            let quiet = network.estimate((&magnitude * 1e-4).view(), None).unwrap();
            assert!(loud.sigma.iter().any(|&sigma| sigma > 0.01));
            // a rounding of the input, grown by a few layers
            for (a, b) in loud.sigma.iter().zip(&quiet.sigma) {
                assert!((a * 1e-4 - b).abs() <= 2e-9 + 2e-5 * a * 1e-4, "{a} {b}");
            }
            for (a, b) in loud.dof.iter().flatten().zip(quiet.dof.iter().flatten()) {
                assert!((a - b).abs() <= 1e-3 * a, "{a} {b}");
            }
        }
    }
}

#[test]
fn a_trained_network_finds_the_source() {
    let mut trainer = Trainer::new(header(Loss::SquareRoot), settings()).unwrap();
    trainer.epoch(&examples, 150, &mut ()).unwrap();
    let network = trainer.network();
    let (mut error, mut power) = (0.0, 0.0);
    for index in 500..508 {
        let excerpt = excerpt(index);
        let sigma = network.estimate(excerpt.mixture.view(), None).unwrap().sigma;
        error += (&sigma - &excerpt.source).mapv(|x| x * x).sum();
        power += excerpt.source.mapv(|x| x * x).sum();
    }
    println!("error {}", error / power);
    assert!(error < 0.1 * power, "{error} {power}");
}

#[test]
fn degrees_of_freedom_lie_between_the_anchors() {
    for loss in LOSSES {
        let network = trained(loss, InputName::Bands, OutputName::Mask);
        let estimate = network.estimate(long().view(), nu_of(loss)).unwrap();
        assert_eq!(estimate.sigma.dim(), (33, 320));
        assert!(estimate.sigma.iter().all(|&sigma| sigma >= 0.0));
        assert_eq!(estimate.dof.is_some(), loss.heads() == 2);
        assert!(estimate.dof.iter().flatten().all(|dof| (1.0..=1000.0).contains(dof)));
    }
}

#[test]
fn nu_is_an_input_where_it_was_one_in_training() {
    let network =
        trained(Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 }, InputName::Bands, OutputName::Mask);
    let at = |nu| network.estimate(long().view(), nu);
    assert_ne!(at(Some(1.0)).unwrap(), at(Some(1e6)).unwrap());
    assert!(matches!(at(None), Err(NnError::NuMissing { .. })));
    for wrong in [0.5, 2e6, f64::NAN, f64::INFINITY] {
        assert!(matches!(at(Some(wrong)), Err(NnError::NuOutOfRange { .. })));
    }
    let plain = trained(Loss::SquareRoot, InputName::Bands, OutputName::Mask);
    assert_eq!(plain.estimate(long().view(), Some(7.0)), plain.estimate(long().view(), None));
}

#[test]
fn frames_see_their_neighbours_alone() {
    let network = trained(Loss::SquareRoot, InputName::Bands, OutputName::Mask);
    let magnitude = long();
    let whole = network.estimate(magnitude.view(), None).unwrap().sigma;
    let mut changed = magnitude.clone();
    // at the end of a block
    changed.column_mut(255).fill(5.0);
    let other = network.estimate(changed.view(), None).unwrap().sigma;
    // context 1: frames j-2, j, j+2
    for frame in 0..320 {
        assert_eq!(whole.column(frame) != other.column(frame), [253, 255, 257].contains(&frame), "{frame}");
    }
}

#[test]
fn the_estimate_does_not_depend_on_threads() {
    let network = trained(Loss::EmpiricalBayes, InputName::Bands, OutputName::Mask);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| network.estimate(long().view(), None).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn the_processor_is_where_a_network_is() {
    let network = trained(Loss::EmpiricalBayes, InputName::Bands, OutputName::Mask);
    let there = network.clone().on(DeviceName::Cpu).unwrap();
    assert_eq!(there.estimate(long().view(), None), network.estimate(long().view(), None));
    if cfg!(not(feature = "cuda")) {
        let refused = network.on(DeviceName::Cuda).unwrap_err();
        assert!(matches!(refused, NnError::Device(_)), "{refused}");
    }
}

#[test]
fn silence_stays_silent_and_nonsense_is_refused() {
    for output in [OutputName::Mask, OutputName::Relu] {
        let network = trained(Loss::SquareRoot, InputName::Bands, output);
        let silence = network.estimate(Array2::zeros((33, 5)).view(), None).unwrap();
        assert_eq!(silence.sigma, Array2::<f32>::zeros((33, 5)));
        assert_eq!(network.estimate(Array2::zeros((33, 0)).view(), None).unwrap().sigma.dim(), (33, 0));
        let bins = network.estimate(Array2::zeros((129, 5)).view(), None).unwrap_err().to_string();
        assert!(bins.contains("129 bins") && bins.contains("33") && bins.contains("fft=64"), "{bins}");
        for wrong in [f32::NAN, f32::INFINITY, -1.0] {
            let mut magnitude = Array2::zeros((33, 5));
            magnitude[[3, 2]] = wrong;
            let error = network.estimate(magnitude.view(), None).unwrap_err().to_string();
            assert!(error.contains("bin 3 of frame 2"), "{error}");
        }
        // the smallest and the largest numbers there are
        for level in [1e-45, 1e30] {
            let estimate = network.estimate((&long() * level).view(), None).unwrap();
            assert!(estimate.sigma.iter().all(|sigma| sigma.is_finite()));
        }
    }
}
