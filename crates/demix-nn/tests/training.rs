//! Training: it learns, goes on to the bit, does not depend on threads, and says what is wrong.

mod common;

use common::{LOSSES, examples, excerpt, header, settings};
use demix_nn::{
    DeviceName, Excerpt, InputName, Loss, NnError, OptimizerName, OutputName, TrainSettings, Trainer,
};
use demix_signal::Progress;
use ndarray::Array2;

/// Mean loss of excerpts that are not learnt from: before, and after so many batches.
fn losses(header: demix_nn::Header, batches: usize) -> (f64, f64) {
    let unseen: Vec<Excerpt> = (1_000_000..1_000_008).map(excerpt).collect();
    // with a floor that hides nothing, logarithms fall as far as they can
    let settings = TrainSettings { power_floor: 1e-5, ..settings() };
    let mut trainer = Trainer::new(header, settings).expect("a good header");
    let before = trainer.loss_of(&unseen).expect("excerpts that sound");
    trainer.epoch(&examples, batches, &mut ()).expect("excerpts that sound");
    (before, trainer.loss_of(&unseen).expect("excerpts that sound"))
}

#[test]
fn every_loss_falls_on_excerpts_not_learnt_from() {
    for loss in LOSSES {
        let (before, after) = losses(header(loss), 150);
        // the losses with a logarithm have no zero: their fall is a difference
        match loss {
            Loss::SquareRoot | Loss::ItakuraSaito => assert!(after < 0.3 * before, "{loss} {before} {after}"),
            _ => assert!(after < before - 2.0, "{loss} {before} {after}"),
        }
    }
}

#[test]
fn the_form_of_the_paper_learns_too() {
    // a rectifier first has to find back what large steps put to zero
    for (loss, batches) in [(Loss::SquareRoot, 150), (Loss::Product { nu_nmf: 10.0 }, 500)] {
        let mut header = header(loss);
        (header.network.input, header.network.output) = (InputName::Linear, OutputName::Relu);
        let (before, after) = losses(header, batches);
        assert!(after < before - 0.4, "{loss} {before} {after}");
    }
}

#[test]
fn other_optimizers_learn_too() {
    for (optimizer, rate) in [(OptimizerName::Adam, 3e-3), (OptimizerName::Sgd, 3e-3)] {
        let settings = TrainSettings { optimizer, rate: Some(rate), ..settings() };
        let mut trainer = Trainer::new(header(Loss::SquareRoot), settings).unwrap();
        let first = trainer.epoch(&examples, 10, &mut ()).unwrap();
        trainer.epoch(&examples, 100, &mut ()).unwrap();
        let last = trainer.epoch(&examples, 10, &mut ()).unwrap();
        assert!(last < 0.7 * first, "{optimizer}: {first} {last}");
    }
}

#[test]
fn an_interrupted_training_goes_on_to_the_bit() {
    for (loss, optimizer) in [
        (Loss::SquareRoot, OptimizerName::Adadelta),
        (Loss::ConditionedProduct { lowest: 1.0, highest: 1e3 }, OptimizerName::Adam),
        (Loss::EmpiricalBayes, OptimizerName::Sgd),
    ] {
        let settings = TrainSettings { optimizer, ..settings() };
        let mut through = Trainer::new(header(loss), settings.clone()).unwrap();
        through.epoch(&examples, 6, &mut ()).unwrap();

        let mut first = Trainer::new(header(loss), settings).unwrap();
        first.epoch(&examples, 3, &mut ()).unwrap();
        let half = first.state();
        let mut second = Trainer::resume(&half).unwrap();
        assert_eq!(second.state(), half);
        assert_eq!(second.steps(), 3);
        second.epoch(&examples, 3, &mut ()).unwrap();
        assert_eq!(second.state(), through.state());
        assert_ne!(second.state(), half);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    // matrix products are shared out between threads only from 192^3 operations
    let train = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut header = header(Loss::EmpiricalBayes);
            header.network.width = 300;
            let settings = TrainSettings { batch: 128, seed, ..settings() };
            let mut trainer = Trainer::new(header, settings).unwrap();
            trainer.epoch(&examples, 3, &mut ()).unwrap();
            trainer.state()
        })
    };
    let one = train(1, 0);
    for threads in [2, 3, 5] {
        assert!(one == train(threads, 0), "{threads} threads");
    }
    assert!(one != train(1, 1), "the seed does nothing");
}

#[test]
fn what_cannot_be_learnt_is_said() {
    let mut trainer = Trainer::new(header(Loss::SquareRoot), settings()).unwrap();
    let mut say = |examples: &(dyn Fn(u64) -> Result<Excerpt, String> + Sync)| {
        trainer.epoch(&|index| examples(index), 2, &mut ()).unwrap_err().to_string()
    };
    let zeros = |bins, frames| Array2::zeros((bins, frames));
    assert_eq!(say(&|_| Err("no such song".into())), "example 0: no such song");
    assert!(
        say(&|_| Ok(Excerpt { mixture: zeros(33, 4), source: zeros(33, 4), margin: 0 })).contains("silent")
    );
    assert!(
        say(&|_| Ok(Excerpt { mixture: zeros(33, 0), source: zeros(33, 0), margin: 0 })).contains("silent")
    );
    let other_bins = say(&|_| Ok(Excerpt { mixture: zeros(30, 4), source: zeros(30, 4), margin: 0 }));
    assert!(other_bins.contains("30 bins") && other_bins.contains("33"), "{other_bins}");
    let other_frames = say(&|_| Ok(Excerpt { mixture: zeros(33, 4), source: zeros(33, 5), margin: 0 }));
    assert!(other_frames.contains("4 frames") && other_frames.contains("5 of the source"), "{other_frames}");
    let nan = say(&|_| Ok(Excerpt { mixture: zeros(33, 4) + f32::NAN, source: zeros(33, 4), margin: 0 }));
    assert!(nan.contains("NaN in bin 0 of frame 0"), "{nan}");
    assert!(trainer.loss_of(&[]).is_err());

    let huge = TrainSettings { optimizer: OptimizerName::Sgd, rate: Some(1000.0), clip: 1e12, ..settings() };
    let mut header_of_relu = header(Loss::Student { nu: 1.0 });
    header_of_relu.network.output = OutputName::Relu;
    header_of_relu.network.hidden = 8;
    let mut trainer = Trainer::new(header_of_relu, huge).unwrap();
    let result = trainer.epoch(&examples, 300, &mut ());
    // it may also die quietly (all units beyond their reach): then the loss is a number
    assert!(matches!(result, Err(NnError::Diverged { .. })) || result.is_ok_and(f64::is_finite));
}

#[test]
fn a_training_tells_its_progress_and_stops_when_asked() {
    let mut trainer = Trainer::new(header(Loss::SquareRoot), settings()).unwrap();
    let mut heard = Vec::new();
    let mut watch = |progress: Progress| {
        heard.push((progress.done, progress.total));
        progress.done < 2
    };
    assert!(matches!(trainer.epoch(&examples, 5, &mut watch), Err(NnError::Cancelled(_))));
    assert_eq!(heard, [(1, 5), (2, 5)]);
    assert_eq!(trainer.steps(), 2);
}

#[test]
fn settings_and_headers_that_cannot_be_are_refused() {
    let refuse = |change: &dyn Fn(&mut demix_nn::Header, &mut TrainSettings)| {
        let (mut header, mut settings) = (header(Loss::SquareRoot), settings());
        change(&mut header, &mut settings);
        match Trainer::new(header, settings) {
            Ok(_) => panic!("taken"),
            Err(error) => error.to_string(),
        }
    };
    assert!(refuse(&|_, settings| settings.batch = 0).contains("batch=0"));
    assert!(refuse(&|header, _| header.network.hidden = 0).contains("hidden=0"));
    assert!(refuse(&|header, _| header.version = 2).contains("version 2"));
    assert!(refuse(&|header, _| header.stft.hop = None).contains("'hop'"));
    assert!(refuse(&|header, _| header.sample_rate = 0).contains("0 Hz"));
    assert!(refuse(&|header, _| header.loss = Loss::Student { nu: f64::NAN }).contains("nu=NaN"));
    let large = refuse(&|header, _| {
        header.stft = demix_signal::StftSettings::new(1 << 20, 1 << 18);
        header.network.width = 16384;
    });
    assert!(large.contains("weights"), "{large}");
    if cfg!(not(feature = "cuda")) {
        assert!(refuse(&|_, settings| settings.device = DeviceName::Cuda).contains("built without it"));
    }
}

/// With the bias of empty memories taken off, the first step of adam is the rate, for every weight that has a gradient.
#[test]
fn adam_begins_anew_with_another_loss() {
    let changes =
        TrainSettings { optimizer: OptimizerName::Adam, rate: Some(1e-3), average: 0.0, ..settings() };
    let mut trainer = Trainer::new(header(Loss::SquareRoot), changes).unwrap();
    trainer.epoch(&examples, 200, &mut ()).unwrap();
    trainer.set_loss(Loss::ItakuraSaito).unwrap();
    let weights = |trainer: &Trainer| trainer.network().to_bytes();
    let numbers = |bytes: Vec<u8>| -> Vec<f32> {
        let tensors = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[tensors..].chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
    };
    let before = numbers(weights(&trainer));
    trainer.epoch(&examples, 1, &mut ()).unwrap();
    let after = numbers(weights(&trainer));
    let longest = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((longest / 1e-3 - 1.0).abs() < 0.01, "{longest}");
}

#[test]
fn another_loss_keeps_what_is_learnt() {
    let conditioned = Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 };
    for loss in LOSSES {
        let mut trainer = Trainer::new(header(Loss::SquareRoot), settings()).unwrap();
        trainer.epoch(&examples, 20, &mut ()).unwrap();
        let sigma = |trainer: &Trainer| {
            let nu_nmf = (trainer.header().loss == conditioned).then_some(10.0);
            trainer.network().estimate(excerpt(7).mixture.view(), nu_nmf).unwrap().sigma
        };
        let before = sigma(&trainer);
        trainer.set_loss(loss).unwrap();
        assert_eq!((trainer.header().loss, trainer.steps()), (loss, 20));
        // a new input, and what a mask of 1 stands for, change what comes out, until they are taken away again
        let is_product = matches!(loss, Loss::Product { .. } | Loss::ConditionedProduct { .. });
        assert_eq!(sigma(&trainer) == before, !is_product);
        trainer.set_loss(Loss::SquareRoot).unwrap();
        assert!(sigma(&trainer) == before);

        trainer.set_loss(loss).unwrap();
        let mut resumed = Trainer::resume(&trainer.state()).unwrap();
        trainer.epoch(&examples, 3, &mut ()).unwrap();
        resumed.epoch(&examples, 3, &mut ()).unwrap();
        assert!(trainer.state() == resumed.state());
    }
    let mut trainer = Trainer::new(header(Loss::SquareRoot), settings()).unwrap();
    assert!(trainer.set_loss(Loss::Student { nu: 0.0 }).is_err());
    assert_eq!(trainer.header().loss, Loss::SquareRoot);
}
