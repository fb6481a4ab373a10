//! Milliseconds of a training step, and where they go: `cargo run --release --example training_speed`.
//!
//! Arguments: the device (`cpu`, `cuda`), the steps to measure and the widths, by default `cpu 10 512 2048`.

use demix_nn::{DeviceName, Excerpt, Header, Loss, NetworkSettings, TrainSettings, Trainer, VERSION};
use demix_signal::StftSettings;
use demix_signal::settings::SettingValue as _;
use ndarray::Array2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let device = DeviceName::parse(&arguments.next().unwrap_or_else(|| "cpu".into()))?;
    let steps: usize = arguments.next().map_or(Ok(10), |steps| steps.parse())?;
    let mut widths = arguments.map(|width| width.parse()).collect::<Result<Vec<usize>, _>>()?;
    if widths.is_empty() {
        widths = vec![512, 2048];
    }
    let mixture = Array2::from_shape_fn((2049, 128), |(bin, frame)| {
        ((bin * 37 + frame * 101) as f32 * 0.01).sin().abs() / (1.0 + bin as f32 * 0.01)
    });
    let excerpt = Excerpt { source: &mixture * 0.5, mixture, margin: 0 };
    let examples = |_| Ok(excerpt.clone());
    println!("ms per step of 128 frames, 2049 bins, {device}, {} threads", rayon::current_num_threads());
    println!("width loss             all  examples forward loss backward optimizer");
    let cases =
        widths.iter().flat_map(|&width| [Loss::SquareRoot, Loss::EmpiricalBayes].map(|loss| (width, loss)));
    for (width, loss) in cases {
        let header = Header {
            version: VERSION,
            network: NetworkSettings { width, ..NetworkSettings::default() },
            stft: StftSettings::new(4096, 2048),
            sample_rate: 8000,
            source: "test".into(),
            loss,
            log: serde_json::Value::Null,
        };
        let mut trainer = Trainer::new(header, TrainSettings { device, ..TrainSettings::default() })?;
        // the first steps find memory and, on devices, compile
        trainer.epoch(&examples, 3, &mut ())?;
        let before = trainer.times();
        let start = std::time::Instant::now();
        trainer.epoch(&examples, steps, &mut ())?;
        let all = start.elapsed().as_secs_f64() * 1e3 / steps as f64;
        let after = trainer.times();
        let [examples, forward, loss_time, backward, optimizer] = [
            after.examples - before.examples,
            after.forward - before.forward,
            after.loss - before.loss,
            after.backward - before.backward,
            after.optimizer - before.optimizer,
        ]
        .map(|time| time.as_secs_f64() * 1e3 / steps as f64);
        println!(
            "{width:<5} {:<15} {all:6.1} {examples:8.1} {forward:7.1} {loss_time:6.1} {backward:7.1} {optimizer:8.1}",
            loss.name()
        );
    }
    Ok(())
}
