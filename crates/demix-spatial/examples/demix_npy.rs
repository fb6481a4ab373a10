//! Demixes a spectrogram that another program wrote, from a start that it chose: for comparisons of the same method.
//!
//! `cargo run --release -p demix-spatial --example demix_npy -- DIR [key=value]...`
//!
//! DIR holds X.npy (channels, bins, frames; complex128) and for ILRMA T0.npy (sources, bins, components) and V0.npy
//! (sources, components, frames). W starts at I. Writes Y.npy (sources, bins, frames), projected back to the first
//! channel, and W.npy (bins, sources, channels) before that; prints one JSON object with `seconds_per_iteration` (the
//! median), `cost` (sum over slots, of the model in the paper's normalisation) at the start and after every iteration, and
//! `elapsed`, the seconds after which each was known, preparation counted.
//!
//! Keys: `method` fdica, auxiva (contrast=laplace|gauss), ilrma, t-ilrma (nu), ggd-ilrma (shape); `update` ip1, ip2,
//! iss1, iss2, ipa; `iterations`; `domain`; `precision` single, double; `normalization` none, power, projection-back;
//! `components` and `seed` where T0 is missing; `write=no` for timing alone.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use demix_signal::settings::SettingValue as _;
use demix_signal::simd::Simd;
use demix_spatial::source::{Contrast, Distribution, Laplace, LowRank, Spherical};
use demix_spatial::{
    C64, Demixing, LoopSettings, Mixture, Normalization, Pairs, Scalar, SourceModel, Update, determined,
};
use ndarray::Array3;
use npyz::WriterBuilder as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("DIR is missing: see the head of this example")?;
    let keys: HashMap<String, String> = arguments
        .map(|argument| {
            let (key, value) = argument.split_once('=').context("settings are written key=value")?;
            Ok((key.to_string(), value.to_string()))
        })
        .collect::<Result<_>>()?;
    let precision = keys.get("precision").map_or("double", String::as_str);
    match precision {
        "single" => demix::<f32>(Path::new(&folder), &keys),
        "double" => demix::<f64>(Path::new(&folder), &keys),
        other => bail!("precision={other}: single or double"),
    }
}

fn read<T: npyz::Deserialize>(path: &Path) -> Result<Array3<T>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let npy = npyz::NpyFile::new(&bytes[..])?;
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    let &[a, b, c] = &shape[..] else { bail!("{}: {shape:?} has not three axes", path.display()) };
    Ok(Array3::from_shape_vec((a, b, c), npy.into_vec()?)?)
}

fn write(path: &Path, data: &Array3<C64>) -> Result<()> {
    let shape: Vec<u64> = data.shape().iter().map(|&n| n as u64).collect();
    let mut out = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(std::io::BufWriter::new(std::fs::File::create(path)?))
        .begin_nd()?;
    out.extend(data.iter().copied())?;
    Ok(out.finish()?)
}

fn demix<T: Scalar>(folder: &Path, keys: &HashMap<String, String>) -> Result<()> {
    let text = |key: &str, default: &str| keys.get(key).cloned().unwrap_or_else(|| default.to_string());
    let number = |key: &str, default: &str| -> Result<f64> {
        text(key, default).parse().with_context(|| format!("{key} needs a number"))
    };
    let parsed = |problem: String| anyhow::anyhow!(problem);
    let x: Array3<C64> = read(&folder.join("X.npy"))?;
    let (n, n_bins, n_frames) = x.dim();
    let begin = Instant::now();
    let mixture = Mixture::<T>::with_level(x.permuted_axes([1, 0, 2]).view(), 1.0, Simd::Native)?;
    let method = text("method", "ilrma");
    let distribution = match method.as_str() {
        "t-ilrma" => Distribution::Student(number("nu", "1")?),
        "ggd-ilrma" => Distribution::Generalized(number("shape", "1.5")?),
        _ => Distribution::Gauss,
    };
    let mut model: Box<dyn SourceModel<T>> = match method.as_str() {
        "fdica" => Box::new(Laplace::default()),
        "auxiva" if text("contrast", "laplace") == "gauss" => Box::new(Spherical::new(Contrast::Gauss)),
        "auxiva" => Box::new(Spherical::new(Contrast::Laplace)),
        _ if folder.join("T0.npy").exists() => {
            let (t, v) = (read(&folder.join("T0.npy"))?, read(&folder.join("V0.npy"))?);
            Box::new(LowRank::given(&t, &v, distribution, number("domain", "2")?)?)
        }
        _ => {
            let mut rng = ChaCha8Rng::seed_from_u64(number("seed", "0")? as u64);
            let components = number("components", "2")? as usize;
            Box::new(LowRank::random((n, n_bins, n_frames), components, distribution, 2.0, &mut rng))
        }
    };
    let update = Update::parse(&text("update", "ip1")).map_err(parsed)?.build(Pairs::Neighbours, 0.1);
    let settings = LoopSettings {
        iterations: number("iterations", "20")? as usize,
        normalization: Normalization::parse(&text("normalization", "power")).map_err(parsed)?,
        ..LoopSettings::default()
    };
    let mut demixing = Demixing::identity(&mixture, n)?;
    let mut marks = Vec::with_capacity(settings.iterations + 1);
    let mut watch = |_| {
        marks.push(Instant::now());
        true
    };
    let descent =
        determined::run(&mixture, &mut *model, &*update, &settings, None, &mut demixing, &mut watch)?;
    let mut steps: Vec<f64> = marks.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    steps.sort_by(f64::total_cmp);
    let seconds = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    if text("write", "yes") == "yes" {
        let (w, a) = (demixing.matrices(&mixture), demixing.mixing(&mixture));
        let mut y = demixing.estimates(&mixture).mapv(|y| C64::new(y.re.to_double(), y.im.to_double()));
        for ((source, bin, _), y) in y.indexed_iter_mut() {
            *y *= a[[bin, 0, source]];
        }
        write(&folder.join("Y.npy"), &y)?;
        write(&folder.join("W.npy"), &w)?;
    }
    let elapsed: Vec<f64> = marks.iter().map(|&mark| (mark - begin).as_secs_f64()).collect();
    let (iterations, cost) = (descent.iterations, descent.cost);
    let found = serde_json::json!({
        "seconds_per_iteration": seconds, "iterations": iterations, "cost": cost, "elapsed": elapsed,
    });
    println!("{found}");
    Ok(())
}
