//! Responses of rectangular rooms: golden vectors, a slow sum of images, and what physics asks for.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::path::Path;

use demix_room::{
    FILTER_DELAY, FILTER_LENGTH, Inversion, Point, RoomError, RoomSettings, Shoebox, Sides, Times, Walls,
    decay, distance, octave_decay, place_source,
};
use ndarray::{Array2, array};
use proptest::prelude::*;

const SOURCE: Point = [1.3, 2.1, 1.4];
const MICROPHONES: [Point; 2] = [[2.9, 1.7, 1.2], [2.95, 1.7, 1.2]];

fn golden(case: &str, name: &str) -> Array2<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join(name);
    let bytes = std::fs::read(path).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = (file.shape()[0] as usize, file.shape()[1] as usize);
    Array2::from_shape_vec(shape, file.into_vec().unwrap()).unwrap()
}

fn peak(x: &Array2<f64>) -> f64 {
    x.iter().fold(0.0, |peak, x| peak.max(x.abs()))
}

const CASES: [(&str, Point, f64, usize, u32); 3] = [
    ("order1_8k", [4.0, 3.0, 2.5], 0.5, 1, 8000),
    ("order3", [5.0, 4.0, 3.0], 0.3, 3, 16000),
    ("order12", [6.0, 5.0, 3.0], 0.35, 12, 16000),
];

#[test]
fn golden_vectors() {
    for (case, size, absorption, order, rate) in CASES {
        // so long that the order is the only limit
        let walls = Walls::uniform(absorption);
        let room = Shoebox { walls, max_order: Some(order), ..Shoebox::new(size, 1.0) };
        let got = room.responses(&[SOURCE], &MICROPHONES, rate).unwrap().remove(0);
        // both stem from images that were rounded to single precision (3e-7 m are 2e-5 samples): see the next test
        for (name, tolerance) in [("rir_formula_float64.npy", 1e-5), ("rir_nohpf.npy", 1e-3)] {
            let want = golden(case, name);
            let peak = peak(&want);
            assert!(got.ncols() >= want.ncols() - 1, "{case}: {} samples, not {}", got.ncols(), want.ncols());
            for ((m, t), got) in got.indexed_iter() {
                let want = want.get((m, t)).copied().unwrap_or(0.0);
                assert!((got - want).abs() <= tolerance * peak, "{case} {name} [{m}, {t}]: {got} not {want}");
            }
        }
    }
}

#[test]
fn the_slow_sum_is_the_golden_formula_where_images_are_rounded_alike() {
    for (case, size, absorption, order, rate) in CASES {
        let want = golden(case, "rir_formula_float64.npy");
        let order = order as i64;
        let mut images = Vec::new();
        for (x, y, z) in (-order..=order)
            .flat_map(|x| (-order..=order).flat_map(move |y| (-order..=order).map(move |z| (x, y, z))))
        {
            let met = x.abs() + y.abs() + z.abs();
            if met > order {
                continue;
            }
            let n = [x, y, z];
            let at = std::array::from_fn(|axis| {
                let (source, side) = (SOURCE[axis] as f32, size[axis] as f32);
                let first = if n[axis] % 2 == 0 { source } else { side - source };
                f64::from(n[axis] as f32 * side + first)
            });
            let once = (1.0 - absorption as f32).sqrt();
            images.push((at, f64::from((0..met).fold(1.0, |gain: f32, _| gain * once))));
        }
        for (m, microphone) in MICROPHONES.iter().enumerate() {
            let got = pulses(&images, microphone, f64::from(rate) / 343.0, want.ncols());
            for (t, got) in got.iter().enumerate() {
                let error = (got - want[[m, t]]).abs() / peak(&want);
                // gains of many reflections: in which order the library rounds them is not known
                assert!(error <= if order > 3 { 1e-7 } else { 1e-10 }, "{case} [{m}, {t}]: {error:e}");
            }
        }
    }
}

/// The sum of pulses, tap by tap, as `Shoebox` defines it.
fn pulses(images: &[(Point, f64)], microphone: &Point, per_metre: f64, n_samples: usize) -> Vec<f64> {
    let mut response = vec![0.0; n_samples + FILTER_LENGTH];
    for (at, gain) in images {
        let d = distance(at, microphone);
        let time = d * per_metre;
        for j in 0..FILTER_LENGTH {
            let t = time.floor() as usize + j;
            let argument = std::f64::consts::PI * (t as f64 - FILTER_DELAY as f64 - time);
            let sinc = if argument == 0.0 { 1.0 } else { argument.sin() / argument };
            let window = (std::f64::consts::PI * j as f64 / (FILTER_LENGTH - 1) as f64).sin().powi(2);
            response[t] += gain / d * sinc * window;
        }
    }
    response.truncate(n_samples);
    response
}

/// All images within reach, by mirroring at one wall after the other.
fn slow(room: &Shoebox, source: &Point, microphone: &Point, rate: u32, n_samples: usize) -> Vec<f64> {
    let reach = (n_samples - FILTER_LENGTH) as f64 / f64::from(rate) * room.speed_of_sound;
    let along = |axis: usize| {
        let side = room.size[axis];
        let loss = |wall: usize| (1.0 - room.walls.absorption[[2 * axis + wall, 0]]).sqrt();
        let mut images = vec![(source[axis], 1.0)];
        for start in [0, 1] {
            let (mut at, mut gain, mut wall) = (source[axis], 1.0, start);
            while (at - microphone[axis]).abs() < reach + 2.0 * side {
                at = if wall == 0 { -at } else { 2.0 * side - at };
                gain *= loss(wall);
                images.push((at, gain));
                wall = 1 - wall;
            }
        }
        images
    };
    let (xs, ys, zs) = (along(0), along(1), along(2));
    let mut images = Vec::new();
    for &(x, gx) in &xs {
        for &(y, gy) in &ys {
            for &(z, gz) in &zs {
                let d = distance(&[x, y, z], microphone);
                if d <= reach {
                    images.push(([x, y, z], gx * gy * gz * (-0.5 * room.air[0] * d).exp()));
                }
            }
        }
    }
    pulses(&images, microphone, f64::from(rate) / room.speed_of_sound, n_samples)
}

fn inside(size: Point, share: Point) -> Point {
    std::array::from_fn(|axis| size[axis] * (0.05 + 0.9 * share[axis]))
}

fn shares() -> impl Strategy<Value = Point> {
    [0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn as_the_slow_sum_of_images(
        size in [1.0f64..6.0, 1.0f64..6.0, 1.0f64..4.0],
        (s, m) in (shares(), shares()),
        absorption in prop::collection::vec(0.0f64..1.0, 6),
        air in 0.0f64..0.05,
    ) {
        let (source, microphone) = (inside(size, s), inside(size, m));
        prop_assume!(distance(&source, &microphone) > 0.05);
        let walls = Walls::new(&Array2::from_shape_vec((6, 1), absorption).unwrap()).unwrap();
        let room = Shoebox { walls, air: vec![air], ..Shoebox::new(size, 0.04) };
        let fast = room.responses(&[source], &[microphone], 8000).unwrap().remove(0);
        // an image at the very end may count as just outside: the last pulse is left out
        let n = fast.ncols();
        let slow = slow(&room, &source, &microphone, 8000, n);
        for t in 0..n - FILTER_LENGTH {
            prop_assert!((fast[[0, t]] - slow[t]).abs() < 1e-11 / 0.05, "{t}: {} {}", fast[[0, t]], slow[t]);
        }
        // reciprocity: the way back is as long and meets the same walls
        let back = room.responses(&[microphone], &[source], 8000).unwrap().remove(0);
        prop_assert!((&fast - &back).iter().all(|x| x.abs() < 1e-11 / 0.05));
    }
}

#[test]
fn the_direct_sound_arrives_after_its_way_with_its_level() {
    // just beyond a whole number of samples, lest rounding ends just before it
    let after = |samples: f64| [2.0, 1.0 + 343.0 / 16000.0 * (samples + 1e-9), 1.0];
    let (source, near, far) = ([2.0, 1.0, 1.0], after(40.0), after(120.0));
    let room = Shoebox::new([4.0, 6.0, 3.0], 0.1);
    let response = room.responses(&[source], &[near, far], 16000).unwrap().remove(0);
    for (m, samples) in [(0, 40), (1, 120)] {
        let d = 343.0 / 16000.0 * samples as f64;
        let row = response.row(m);
        let got = row[FILTER_DELAY + samples];
        assert!((got - 1.0 / d).abs() < 1e-7, "{got} not {}", 1.0 / d);
        // a whole number of samples and walls that swallow everything: nothing else
        let rest: f64 =
            row.iter().enumerate().filter(|(t, _)| *t != FILTER_DELAY + samples).map(|(_, x)| x.abs()).sum();
        assert!(rest < 1e-7, "{rest}");
    }
    // shorter than the way: the direct sound is in nevertheless
    let short =
        Shoebox::new([4.0, 6.0, 3.0], 0.0).responses(&[source], &[near, far], 16000).unwrap().remove(0);
    assert!((short[[1, FILTER_DELAY + 120]] - response[[1, FILTER_DELAY + 120]]).abs() < 1e-12);
}

#[test]
fn a_room_twice_as_large_at_half_the_rate_is_the_same_but_half_as_loud() {
    let room = Shoebox { walls: Walls::uniform(0.3), ..Shoebox::new([4.0, 3.0, 2.5], 0.1) };
    let large = Shoebox { size: room.size.map(|x| 2.0 * x), seconds: 0.2, ..room.clone() };
    let (small, double) = (MICROPHONES[0], MICROPHONES[0].map(|x| 2.0 * x));
    let a = room.responses(&[SOURCE], &[small], 16000).unwrap().remove(0);
    let b = large.responses(&[SOURCE.map(|x| 2.0 * x)], &[double], 8000).unwrap().remove(0);
    assert_eq!(a.dim(), b.dim());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - 2.0 * b).abs() < 1e-10));
}

#[test]
fn bands_that_agree_are_one_band() {
    let size = [4.0, 3.0, 2.5];
    let one = Shoebox { walls: Walls::uniform(0.3), ..Shoebox::new(size, 0.2) };
    let seven = Shoebox { walls: Walls::new(&Array2::from_elem((1, 7), 0.3)).unwrap(), ..one.clone() };
    let responses = |room: &Shoebox| room.responses(&[SOURCE], &MICROPHONES, 16000).unwrap().remove(0);
    let (a, b) = (responses(&one), responses(&seven));
    assert!((&a - &b).iter().all(|x| x.abs() < 1e-12));
    // air that takes nothing changes nothing
    let still = Shoebox { air: vec![0.0; 7], ..one.clone() };
    assert!((&a - &responses(&still)).iter().all(|x| x.abs() < 1e-12));
}

#[test]
fn the_time_asked_for_is_the_time_measured() {
    // rooms from living room to hall, places that are not the middle
    let cases = [
        ([6.0, 4.4, 2.5], 0.3, 16000),
        ([6.0, 4.4, 2.5], 0.15, 16000),
        ([6.0, 4.4, 2.5], 0.47, 16000),
        ([4.0, 3.7, 3.1], 0.25, 16000),
        ([12.0, 9.0, 5.0], 0.8, 8000),
        ([3.0, 3.0, 3.0], 0.4, 16000),
    ];
    for (size, t60, rate) in cases {
        let settings =
            RoomSettings { room: Sides(size), t60: Some(Times(vec![t60])), ..RoomSettings::default() };
        let room = settings.shoebox(None).unwrap();
        let sources = [[0.2, 0.7, 0.55], [0.75, 0.3, 0.4], [0.6, 0.85, 0.7]].map(|share| inside(size, share));
        let microphones = [inside(size, [0.4, 0.4, 0.5]), inside(size, [0.85, 0.65, 0.35])];
        let responses = room.responses(&sources, &microphones, rate).unwrap();
        let times: Vec<f64> = responses
            .iter()
            .flat_map(|response| {
                response.rows().into_iter().map(|row| decay(&row.to_vec(), rate).t60.unwrap())
            })
            .collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        println!("{size:?} {t60}: mean {mean:.4} of {times:.3?}");
        assert!((mean / t60 - 1.0).abs() < 0.1, "{size:?}: {mean} not {t60}");
        assert!(times.iter().all(|time| (time / t60 - 1.0).abs() < 0.25), "{size:?} {t60}: {times:?}");
    }
}

#[test]
fn bands_decay_at_their_own_times() {
    // neighbours of the measured bands are like them: the filters of the bands overlap
    let times = Times(vec![0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]);
    let settings = RoomSettings { t60: Some(times), ..RoomSettings::default() };
    let room = settings.shoebox(None).unwrap();
    let sources = [[4.6, 3.1, 1.5], [1.2, 3.9, 0.8], [3.7, 0.4, 2.0]];
    let responses = room.responses(&sources, &[[2.2, 1.6, 1.1], [5.3, 2.7, 1.9]], 16000).unwrap();
    let rows: Vec<Vec<f64>> =
        responses.iter().flat_map(|r| r.rows().into_iter().map(|row| row.to_vec())).collect();
    for (centre, asked) in [(500.0, 0.5), (4000.0, 0.25)] {
        let found = rows.iter().map(|row| octave_decay(row, 16000, centre).t60.unwrap()).sum::<f64>()
            / rows.len() as f64;
        println!("{centre}: {found}");
        assert!((found / asked - 1.0).abs() < 0.12, "{centre} Hz: {found} not {asked}");
    }
}

#[test]
fn threads_and_repetition_change_nothing() {
    let room = Shoebox { walls: Walls::uniform(0.2), ..Shoebox::new([4.0, 3.0, 2.5], 0.3) };
    let run = || room.responses(&[SOURCE], &MICROPHONES, 16000).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run);
    let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap().install(run);
    assert_eq!(one, three);
    // sources and microphones do not hear of each other
    let turned =
        room.responses(&[place_source(SOURCE, 10.0, 0.1), SOURCE], &[MICROPHONES[1]], 16000).unwrap();
    let n = one[0].ncols().min(turned[1].ncols());
    assert!((0..n - FILTER_LENGTH).all(|t| (turned[1][[0, t]] - one[0][[1, t]]).abs() < 1e-12));
}

#[test]
fn what_cannot_be_is_refused() {
    let room = Shoebox { walls: Walls::uniform(0.0), ..Shoebox::new([4.0, 3.0, 2.5], 20.0) };
    let error = room.responses(&[SOURCE], &MICROPHONES, 16000).unwrap_err();
    assert!(matches!(error, RoomError::TooManyImages { .. }), "{error}");
    let huge = Shoebox::new([1e9, 1.0, 1.0], 0.1);
    assert!(matches!(huge.responses(&[], &[], 8000), Err(RoomError::Size { .. })));
    let bad =
        Shoebox { walls: Walls { absorption: array![[0.1], [0.1], [0.1], [0.1], [0.1], [1.1]] }, ..huge };
    let bad = Shoebox { size: [4.0; 3], ..bad };
    assert!(bad.responses(&[], &[], 8000).unwrap_err().to_string().contains("ceiling"));
    let none = RoomSettings { inversion: Inversion::Sabine, ..RoomSettings::default() };
    assert!(none.shoebox(None).is_ok());
}
