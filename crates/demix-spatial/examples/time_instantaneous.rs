//! Demixes a matrix for `bench/instantaneous.py`; prints one JSON object.
//!
//! time_instantaneous X.npy RATE SOURCES THREADS REPEAT METHOD...
//!
//! X is float32, (channels, samples), in C order. For each method the least seconds of so many runs, W and the
//! iterations.

use std::time::Instant;

use demix_signal::Waveform;
use demix_spatial::instantaneous::*;
use ndarray::Array2;
use serde_json::{Map, Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize| arguments[k].parse::<usize>().expect("a whole number");
    let bytes = std::fs::read(&arguments[0]).unwrap_or_else(|e| panic!("{}: {e}", arguments[0]));
    let file = npyz::NpyFile::new(&bytes[..]).expect("an npy file");
    let shape = (file.shape()[0] as usize, file.shape()[1] as usize);
    let samples = Array2::from_shape_vec(shape, file.into_vec().expect("float32")).expect("C order");
    let x = Waveform::new(samples, number(1) as u32);
    rayon::ThreadPoolBuilder::new().num_threads(number(3)).build_global().expect("first pool");
    let mut results = Map::new();
    for name in &arguments[5..] {
        let method = method(name);
        let mut least = f64::INFINITY;
        let mut last = None;
        for _ in 0..number(4) {
            let clock = Instant::now();
            last = Some(method.demix(&x, number(2), &mut ()).expect("demixes"));
            least = least.min(clock.elapsed().as_secs_f64());
        }
        let found = last.expect("at least one run");
        let w: Vec<Vec<f64>> = found.demixing.outer_iter().map(|row| row.to_vec()).collect();
        let result: Value = json!({ "seconds": least, "demixing": w, "iterations": found.iterations });
        results.insert(name.clone(), result);
    }
    println!("{}", Value::Object(results));
}

fn method(name: &str) -> Box<dyn InstantaneousMethod> {
    let fast = |samples: usize| {
        let settings = FastIcaSettings { samples, ..FastIcaSettings::default() };
        Box::new(FastIca::new(settings).expect("in range"))
    };
    match name {
        "amuse" => Box::new(Amuse::new(AmuseSettings::default()).expect("in range")),
        "sobi" => Box::new(Sobi::new(SobiSettings::default()).expect("in range")),
        "jade" => Box::new(Jade::new(JadeSettings::default()).expect("in range")),
        "fastica" => fast(FastIcaSettings::default().samples),
        "fastica-all-samples" => fast(1_000_000_000),
        other => panic!("{other}: amuse, sobi, jade, fastica or fastica-all-samples"),
    }
}
