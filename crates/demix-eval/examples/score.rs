//! Scores raw recordings and tells how long it took, as JSON: what `bench/bss_eval.py` runs.
//!
//! ```text
//! score METRIC --rate HZ --channels M [--filter L] [--repeat K] [--stream] --references FILE.. --estimates FILE..
//! ```
//!
//! METRIC is sources, images, v4 (windows of one second) or si-sdr. Files hold little-endian single
//! precision samples, channels interleaved. `--stream` reads them while scoring in place of before.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Mutex;
use std::time::Instant;

use demix_eval::{BssEval, FILTER_LENGTH, Order, Recording, Scores, SiSettings, Windows, si_sdr};
use demix_signal::Waveform;
use ndarray::{Array2, ArrayViewMut2};
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error>;

/// A raw file, read where asked.
struct Raw {
    file: Mutex<File>,
    n_channels: usize,
    n_samples: usize,
    sample_rate: u32,
}

impl Raw {
    fn open(path: &str, n_channels: usize, sample_rate: u32) -> Result<Self, Error> {
        let file = File::open(path)?;
        let n_samples = file.metadata()?.len() as usize / (4 * n_channels);
        Ok(Self { file: Mutex::new(file), n_channels, n_samples, sample_rate })
    }
}

impl Recording for Raw {
    fn n_channels(&self) -> usize {
        self.n_channels
    }

    fn n_samples(&self) -> usize {
        self.n_samples
    }

    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn read(&self, start: usize, mut out: ArrayViewMut2<'_, f32>) -> std::io::Result<()> {
        let mut bytes = vec![0; 4 * out.len()];
        {
            let mut file = self.file.lock().expect("no reader panics");
            file.seek(SeekFrom::Start((4 * start * self.n_channels) as u64))?;
            file.read_exact(&mut bytes)?;
        }
        let samples = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        for (index, x) in samples.enumerate() {
            out[[index % self.n_channels, index / self.n_channels]] = x;
        }
        Ok(())
    }
}

fn score<R: Recording>(
    metric: &str,
    references: &[R],
    estimates: &[R],
    filter: usize,
) -> Result<Scores, Error> {
    let track = || BssEval::new(references, estimates, filter);
    Ok(match metric {
        "sources" => track()?.sources(&Order::Best)?,
        "images" => track()?.images(&Order::Best)?,
        "v4" => {
            let windows = Windows::seconds(references[0].sample_rate());
            track()?.version4(&windows, &Order::Fixed)?.median()
        }
        "si-sdr" => si_sdr(references, estimates, &SiSettings::default())?,
        _ => return Err(format!("metric {metric} is not one of sources, images, v4, si-sdr").into()),
    })
}

fn timed<R: Recording>(
    metric: &str,
    references: &[R],
    estimates: &[R],
    filter: usize,
    repeat: usize,
) -> Result<Value, Error> {
    let mut seconds = Vec::new();
    let mut scores = None;
    for _ in 0..repeat {
        let begin = Instant::now();
        scores = Some(score(metric, references, estimates, filter)?);
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let scores = scores.ok_or("--repeat is 1 or more")?;
    Ok(json!({
        "seconds": seconds,
        "peak_mib": peak_mib(),
        "sdr": scores.sdr,
        "isr": scores.isr,
        "sir": scores.sir,
        "sar": scores.sar,
        "permutation": scores.permutation,
    }))
}

/// The most memory this process held, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let metric = arguments.next().ok_or("which metric?")?;
    let (mut rate, mut channels, mut filter, mut repeat, mut stream) = (16000, 1, FILTER_LENGTH, 1, false);
    let (mut references, mut estimates) = (Vec::new(), Vec::new());
    let mut group = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--rate" => rate = value()?.parse()?,
            "--channels" => channels = value()?.parse()?,
            "--filter" => filter = value()?.parse()?,
            "--repeat" => repeat = value()?.parse()?,
            "--stream" => stream = true,
            "--references" => group = Some(&mut references),
            "--estimates" => group = Some(&mut estimates),
            path => group.as_mut().ok_or("a file before --references")?.push(path.to_owned()),
        }
    }
    let open = |paths: &[String]| -> Result<Vec<Raw>, Error> {
        paths.iter().map(|path| Raw::open(path, channels, rate)).collect()
    };
    let (references, estimates) = (open(&references)?, open(&estimates)?);
    let result = if stream {
        timed(&metric, &references, &estimates, filter, repeat)?
    } else {
        let load = |raw: Vec<Raw>| -> Result<Vec<Waveform>, Error> {
            raw.iter()
                .map(|raw| {
                    let mut samples = Array2::zeros((raw.n_channels, raw.n_samples));
                    raw.read(0, samples.view_mut())?;
                    Ok(Waveform::new(samples, raw.sample_rate))
                })
                .collect()
        };
        timed(&metric, &load(references)?, &load(estimates)?, filter, repeat)?
    };
    println!("{result}");
    Ok(())
}
