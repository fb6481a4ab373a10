//! Several microphones: simulate, separate, evaluate, as in the README.

use demix::signal::Waveform;
use ndarray::{Array2, Axis};

use super::lab::{Lab, RATE, noise, residual_db};

/// Noise whose bands swell and fade at syllables of its own: 6 s.
fn talker(take: u64) -> Waveform {
    let n = 6 * RATE as usize;
    let white = noise(n, take);
    let gates = noise(64, take + 100);
    let mut state = [0.0f32; 2];
    let samples = white.iter().enumerate().map(|(t, &x)| {
        let syllable = t / (RATE as usize / 6);
        let gate = if gates[syllable % 64] > 0.0 { 1.0 } else { 0.02 };
        // a resonance that moves with the syllables
        let angle = 0.3 + 0.9 * gates[(syllable + 7) % 64].abs();
        let y = x * gate * 0.05 + 2.0 * 0.95 * angle.cos() * state[0] - 0.9025 * state[1];
        state = [y, state[0]];
        y
    });
    Waveform::mono(samples.collect(), RATE)
}

/// A lab with two talkers in a small room in `scene`.
fn scene() -> Lab {
    let lab = Lab::new();
    lab.write("a.wav", &talker(1));
    lab.write("b.wav", &talker(2));
    lab.done("simulate a.wav b.wav --room 4,3,2.5 --t60 0.1 --distance 1 -o scene");
    lab
}

/// Mean SDR improvement of what is in `folder`, over the mixture of a scene.
fn improvement(lab: &Lab, scene: &str, folder: &str) -> f64 {
    let run = lab.done(&format!(
        "evaluate --reference {scene}/image-1.wav {scene}/image-2.wav --estimate {folder}/source-1.wav \
         {folder}/source-2.wav --mixture {scene}/mixture.wav --metrics bss-eval-v3-images --json"
    ));
    let line = run.out.lines().last().unwrap();
    let scores: serde_json::Value = serde_json::from_str(line).unwrap();
    let improvements = scores["metrics"]["bss-eval-v3-images"]["sdr_improvement"].as_array().unwrap();
    improvements.iter().map(|x| x.as_f64().unwrap()).sum::<f64>() / improvements.len() as f64
}

fn peak(sound: &Array2<f32>) -> f32 {
    sound.iter().fold(0.0, |p, x| p.max(x.abs()))
}

/// The largest difference between the sum of the sources and the input.
fn error_of_sum(lab: &Lab, folder: &str, input: &Waveform) -> f32 {
    let sum =
        lab.sources(folder).iter().fold(Array2::<f32>::zeros(input.samples.dim()), |sum, s| sum + &s.samples);
    peak(&(&input.samples - &sum)) / peak(&input.samples)
}

#[test]
fn sources_add_up_where_microphones_hear_the_same() {
    // rumble and an offset that all three hear alike: images of the lowest bins are differences of large numbers
    let lab = Lab::new();
    let talkers: Vec<Waveform> = (1..4).map(talker).collect();
    let n = talkers[0].n_samples();
    let x = Array2::from_shape_fn((3, n), |(m, t)| {
        let rumble = 0.5 + 0.3 * (std::f32::consts::TAU * 3.0 * t as f32 / RATE as f32).sin();
        let late = |k: usize| t.checked_sub((m + 2 * k) % 3).map_or(0.0, |t| talkers[k].samples[[0, t]]);
        rumble + 0.05 * (0..3).map(late).sum::<f32>()
    });
    lab.write("three.wav", &Waveform::new(x, RATE));
    for method in ["ilrma", "auxiva"] {
        lab.done(&format!("separate three.wav --method {method} --set iterations=20 -o {method}"));
        let residual = residual_db(&lab.read("three.wav"), &lab.sources(&format!("{method}/three")));
        assert!(residual < -110.0, "{method}: {residual:.0} dB");
    }
}

#[test]
fn three_commands_make_a_mixture_take_it_apart_and_score_it() {
    let lab = scene();
    lab.done("separate scene/mixture.wav -o out");
    let report = lab.json("out/mixture/report.json");
    assert_eq!(report["method"], "ilrma");
    assert!(report["why"].as_str().unwrap().contains("delays and echoes"), "{}", report["why"]);
    assert_eq!(report["sums_to_input"], true);
    assert!(error_of_sum(&lab, "out/mixture", &lab.read("scene/mixture.wav")) < 1e-5);
    let gain = improvement(&lab, "scene", "out/mixture");
    assert!(gain > 8.0, "{gain:.1} dB");
}

#[test]
fn every_demixing_method_separates_and_keeps_its_seed() {
    let lab = scene();
    for method in ["fdica", "auxiva", "ilrma", "t-ilrma", "ggd-ilrma", "consistent-ilrma"] {
        let line = format!("separate scene/mixture.wav --method {method} --seed 3 -o {method}");
        lab.done(&line);
        let gain = improvement(&lab, "scene", &format!("{method}/mixture"));
        assert!(gain > 4.0, "{method}: {gain:.1} dB");
        lab.done(&format!("{line}-again"));
        let bytes = |folder: &str| lab.bytes(format!("{folder}/mixture/source-1.wav"));
        assert!(bytes(method) == bytes(&format!("{method}-again")), "{method}");
    }
}

#[test]
fn blocks_keep_the_order_of_the_sources_and_join_without_a_step() {
    let lab = scene();
    // the same talkers again and again: 24 s in blocks of 6 s
    let mixture = lab.read("scene/mixture.wav");
    let long = [mixture.samples.view(); 4];
    lab.write("long.wav", &Waveform::new(ndarray::concatenate(Axis(1), &long).unwrap(), RATE));
    lab.done("separate long.wav --method ilrma -o whole");
    lab.done("separate long.wav --method ilrma --set block=6 -o blocks");
    let n_blocks = lab.json("blocks/long/report.json")["details"]["blocks"].as_array().unwrap().len();
    assert!(n_blocks > 3, "{n_blocks}");
    let report = lab.json("blocks/long/report.json");
    let costs: Vec<f64> = report["cost"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(costs.len() as u64, 1 + report["iterations"].as_u64().unwrap());
    assert!(costs[costs.len() - 1] < costs[1] && costs[1] < costs[0], "{costs:?}");
    let (whole, blocks) = (lab.sources("whole/long"), lab.sources("blocks/long"));
    assert!(error_of_sum(&lab, "blocks/long", &lab.read("long.wav")) < 1e-5);
    for block in &blocks {
        // one of the sources of the whole, everywhere
        let power = |x: &Array2<f32>| x.iter().map(|x| x * x).sum::<f32>();
        let error = |w: &Waveform| power(&(&w.samples - &block.samples)) / power(&w.samples);
        let best = whole.iter().map(error).fold(f32::INFINITY, f32::min);
        assert!(best < 0.05, "{best}");
        let row = block.samples.row(0);
        let mut steps: Vec<f32> = row.windows(2).into_iter().map(|pair| (pair[1] - pair[0]).abs()).collect();
        let at_joints: Vec<f32> = (1..n_blocks)
            .flat_map(|b| {
                let joint = b * row.len().div_ceil(n_blocks);
                steps[joint - 3..joint + 3].to_vec()
            })
            .collect();
        steps.sort_by(f32::total_cmp);
        let limit = steps[steps.len() * 99 / 100];
        assert!(at_joints.iter().all(|step| *step <= limit * 1.5), "{at_joints:?} {limit}");
    }
}

#[test]
fn sources_keep_their_places_while_their_levels_change() {
    let lab = Lab::new();
    let block = 6 * RATE as usize;
    for (name, take, levels) in [("a", 1, [1.0, 0.1, 1.0, 0.03]), ("b", 2, [0.1, 1.0, 0.03, 1.0])] {
        let part = talker(take).samples;
        let parts: Vec<Array2<f32>> = levels.iter().map(|&level| &part * level).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        lab.write(
            &format!("{name}.wav"),
            &Waveform::new(ndarray::concatenate(Axis(1), &views).unwrap(), RATE),
        );
    }
    lab.done(
        "simulate a.wav b.wav --room 4,3,2.5 --t60 0.1 --distance 1 --array line:3:0.05 --cut-tail -o scene",
    );
    let references = [1, 2].map(|n| lab.read(format!("scene/image-{n}.wav")));
    for method in ["ilrma", "fdica", "ilrma --set overdetermined=background"] {
        lab.done(&format!(
            "separate scene/mixture.wav --method {method} --sources 2 --set block=6 --overwrite -o out"
        ));
        let source = lab.read("out/mixture/source-1.wav");
        // which of the two it is, block by block, away from the joints
        let is_first = |at: usize| {
            let (from, to) = (at * block + RATE as usize, (at + 1) * block - RATE as usize);
            let part = |x: &Waveform| x.samples.row(0).slice_move(ndarray::s![from..to]).to_owned();
            let alike = |reference: &Waveform| {
                let reference = part(reference);
                reference.dot(&part(&source)).abs() / reference.dot(&reference).sqrt()
            };
            alike(&references[0]) > alike(&references[1])
        };
        let places: Vec<bool> = (0..4).map(is_first).collect();
        assert!(places.iter().all(|place| *place == places[0]), "{method}: {places:?}");
    }
}

#[test]
fn filters_are_written_and_say_what_they_are() {
    let lab = scene();
    lab.done("separate scene/mixture.wav --method auxiva --filters -o out");
    let meaning = lab.json("out/mixture/filters.json");
    assert_eq!(meaning["sample_rate"], RATE);
    let bins = meaning["stft"]["fft"].as_u64().unwrap() / 2 + 1;
    let header = String::from_utf8_lossy(&lab.bytes("out/mixture/demixing.npy")[..128]).into_owned();
    assert!(header.contains(&format!("(1, {bins}, 2, 2,)")), "{header}");
    // gains are the same at every frequency: no transform is spoken of
    lab.done("separate scene/mixture.wav --method jade --filters -o gains");
    let meaning = lab.json("gains/mixture/filters.json");
    assert!(meaning.get("stft").is_none() && meaning.get("transform").is_none(), "{meaning}");
    assert!(meaning["demixing.npy"].as_str().unwrap().ends_with("y = W x at every sample"), "{meaning}");
    let header = String::from_utf8_lossy(&lab.bytes("gains/mixture/demixing.npy")[..128]).into_owned();
    assert!(header.contains("(1, 1, 2, 2,)"), "{header}");
    let run = lab.line("separate a.wav --filters -o mono");
    assert_eq!(run.code, 2);
    assert!(run.err.contains("masks are not filters"), "{}", run.err);
}

#[test]
fn poor_channels_are_named_and_nothing_is_not_a_number() {
    let lab = scene();
    let mixture = lab.read("scene/mixture.wav").samples;
    let n = mixture.ncols();
    let channels = |rows: &[ndarray::Array1<f32>]| {
        let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
        Waveform::new(ndarray::stack(Axis(0), &views).unwrap(), RATE)
    };
    let (left, right) = (mixture.row(0).to_owned(), mixture.row(1).to_owned());
    let silence = ndarray::Array1::zeros(n);
    lab.write("silent.wav", &channels(&[left.clone(), right.clone(), silence.clone()]));
    lab.write("copy.wav", &channels(&[left.clone(), right.clone(), &left * 0.5]));
    lab.write("one.wav", &channels(&[left.clone(), silence.clone()]));
    lab.write("quiet.wav", &Waveform::new(&mixture * 1e-6, RATE));
    lab.write("clipped.wav", &Waveform::new(mixture.mapv(|x| (20.0 * x).clamp(-1.0, 1.0)), RATE));
    lab.write("short.wav", &Waveform::new(mixture.slice(ndarray::s![.., ..40]).to_owned(), RATE));
    lab.write("nothing.wav", &channels(&[silence.clone(), silence]));
    for (name, warning) in [
        ("silent", "channel 3 is silent, left out"),
        ("copy", "channel 3 is a copy of channel 1 (times 0.500), left out"),
        ("one", "channel 2 is silent, left out"),
        ("quiet", ""),
        ("clipped", "are clipped"),
        ("short", ""),
        ("nothing", "channel 1 is silent, left out"),
    ] {
        for method in ["ilrma", "fdica", "auxiva"] {
            lab.done(&format!("separate {name}.wav --method {method} -o out-{method}"));
            let report = lab.json(&format!("out-{method}/{name}/report.json"));
            let warnings = report["warnings"].to_string();
            assert!(warnings.contains(warning), "{name}: {warnings}");
            let sources = lab.sources(&format!("out-{method}/{name}"));
            assert!(sources.iter().all(|s| s.samples.iter().all(|x| x.is_finite())), "{name}");
            if name != "nothing" {
                let error =
                    error_of_sum(&lab, &format!("out-{method}/{name}"), &lab.read(format!("{name}.wav")));
                assert!(error < 1e-4, "{name}, {method}: {error}");
            }
        }
    }
    let slow = Waveform::new(mixture.clone(), 10);
    lab.write("slow.wav", &slow);
    lab.done("separate slow.wav --set iterations=2 -o slow");
    // the automatic choice looks at the channels, too
    lab.done("separate one.wav nothing.wav -o auto");
    assert_eq!(lab.json("auto/one/report.json")["method"], "nmf");
    let run = lab.line("separate one.wav -o other --set trials=none");
    assert_eq!((run.code, run.err.lines().count()), (2, 1), "{}", run.err);
    assert!(
        run.err.contains("one.wav: there is no setting 'trials' of nmf, which auto chose"),
        "{}",
        run.err
    );
}

#[test]
fn what_demixing_cannot_do_is_refused_before_the_work() {
    let lab = scene();
    for (line, parts) in [
        ("separate a.wav --method ilrma", vec!["at least 2 channels", "this has 1"]),
        ("separate scene/mixture.wav --method ilrma --sources 3", vec!["--sources 3", "2 channels"]),
        ("separate scene/mixture.wav --method fdica --set components=3", vec!["no setting 'components'"]),
        ("separate scene/mixture.wav --method ilrma --set update=ip3", vec!["update=ip3", "iss1"]),
        (
            "separate scene/mixture.wav --method ilrma --set partition=true --set normalization=projection-back",
            vec!["partition=true", "normalization=power"],
        ),
        (
            "separate scene/mixture.wav --method t-ilrma --set source_update=me",
            vec!["source_update=me", "Gaussian"],
        ),
        ("separate scene/mixture.wav --method ilrma --free voice=3", vec!["--free voice", "nmf"]),
        (
            "separate scene/mixture.wav --method ilrma --set partition=true --set source_update=me",
            vec!["source_update=me", "partition=false"],
        ),
    ] {
        let run = lab.line(line);
        assert_eq!(run.code, 2, "{line}: {}", run.err);
        assert_eq!(run.err.lines().count(), 1, "{line}: {}", run.err);
        for part in parts {
            assert!(run.err.contains(part), "{line}: {}", run.err);
        }
    }
}

#[test]
fn one_source_of_several_microphones_is_better_than_the_mixture() {
    let lab = scene();
    lab.done("simulate a.wav b.wav --room 4,3,2.5 --t60 0.1 --distance 1 --array line:3:0.04 -o three");
    let si_sdr = |reference: &Waveform, estimate: &Waveform| {
        let (r, e) = (reference.samples.row(0), estimate.samples.row(0));
        let target = &r * (e.dot(&r) / r.dot(&r));
        let rest = &e - &target;
        10.0 * (target.dot(&target) / rest.dot(&rest)).log10()
    };
    for method in ["ilrma", "auxiva"] {
        lab.done(&format!("separate three/mixture.wav --method {method} --sources 1 --overwrite -o out"));
        let best = |sound: &Waveform| {
            let of = |n: usize| si_sdr(&lab.read(format!("three/image-{n}.wav")), sound);
            of(1).max(of(2))
        };
        let (heard, found) =
            (best(&lab.read("three/mixture.wav")), best(&lab.read("out/mixture/source-1.wav")));
        assert!(found > heard + 2.5, "{method}: {heard:.1} to {found:.1} dB");
    }
    for line in ["--method fdica", "--method ilrma --set start=fdica"] {
        let run = lab.line(&format!("separate three/mixture.wav {line} --sources 1 -o x"));
        assert!(run.code != 0 && run.err.contains("another one in each"), "{}", run.err);
    }
}

#[test]
fn fewer_sources_than_microphones_are_extracted() {
    let lab = scene();
    lab.done("simulate a.wav b.wav --room 4,3,2.5 --t60 0.1 --distance 1 --array line:4:0.04 -o four");
    for settings in ["overdetermined=background", "overdetermined=pca", "update=iss1", "update=ip2"] {
        lab.done(&format!(
            "separate four/mixture.wav --method ilrma --sources 2 --set {settings} --overwrite -o out"
        ));
        let report = lab.json("out/mixture/report.json");
        assert_eq!(report["sums_to_input"], true);
        let sources = lab.sources("out/mixture");
        assert!(sources.len() == 3 && sources[0].n_channels() == 4);
        assert_eq!(report["sources"][2]["name"], "residual");
        assert!(error_of_sum(&lab, "out/mixture", &lab.read("four/mixture.wav")) < 1e-5);
        let gain = improvement(&lab, "four", "out/mixture");
        assert!(gain > 3.0, "{settings}: {gain:.1} dB");
    }
}

#[test]
fn a_hiss_before_the_talkers_does_not_lead_astray() {
    let lab = scene();
    let mixture = lab.read("scene/mixture.wav");
    // a hiss 60 dB below, another one in each channel
    let mut state = 1u32;
    let hiss = mixture.samples.mapv(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1e-3 * mixture.peak() * (state as f32 / u32::MAX as f32 - 0.5)
    });
    let late = ndarray::concatenate(Axis(1), &[hiss.view(), mixture.samples.view()]).unwrap();
    lab.write("late.wav", &Waveform::new(late, RATE));
    let seconds = mixture.n_samples() as f64 / f64::from(RATE);
    lab.done("separate scene/mixture.wav --method ilrma --set fft=1024 -o alone");
    lab.done(&format!("separate late.wav --method ilrma --set fft=1024 --set block={seconds} -o late"));
    let report = lab.json("late/late/report.json");
    assert!(report["details"]["blocks"].as_array().unwrap().len() > 1);
    let (alone, late) = (lab.sources("alone/mixture"), lab.sources("late/late"));
    let power = |x: &ndarray::Array2<f32>| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let n = mixture.n_samples();
    // away from the joint
    let error = |a: &Waveform, b: &Waveform| {
        let (a, b) =
            (a.samples.slice(ndarray::s![.., n / 4..]), b.samples.slice(ndarray::s![.., n + n / 4..2 * n]));
        power(&(&a - &b)) / power(&a.to_owned())
    };
    let kept = error(&alone[0], &late[0]).max(error(&alone[1], &late[1]));
    let swapped = error(&alone[0], &late[1]).max(error(&alone[1], &late[0]));
    assert!(kept.min(swapped) < 0.1, "{kept} {swapped}");
}

#[test]
fn many_degrees_of_freedom_are_gaussian_in_single_precision_too() {
    let lab = scene();
    let costs: Vec<f64> = ["ilrma", "t-ilrma --set nu=1e9", "t-ilrma --set nu=1e6"]
        .iter()
        .map(|method| {
            let settings =
                "--set precision=single --set start=identity --set factors=random --set iterations=3";
            lab.done(&format!("separate scene/mixture.wav --method {method} {settings} -o out --overwrite"));
            lab.json("out/mixture/report.json")["cost"][3].as_f64().unwrap()
        })
        .collect();
    assert!(costs.iter().all(|cost| (cost / costs[0] - 1.0).abs() < 1e-4), "{costs:?}");
}
