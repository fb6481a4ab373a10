//! The measurements of docs/instantaneous.md: which lags, how many, which form of F, what echoes do to all of it, and
//! how an echo is noticed.
//!
//! DEMIX_TEST_DATA=FOLDER cargo run --release -p demix-spatial --example instantaneous_study -- OUTPUT_FOLDER choose|report
//! [one-lag|how-many|forms|echoes|evidence]...
//!
//! Tables go to standard output, pictures to the folder. `choose` takes the pairs that defaults and thresholds were
//! chosen with, `report` the others; one part after the other, or those that are named.

mod material;

use std::path::{Path, PathBuf};

use demix_figure::{BoxPlot, BoxSeries, boxes};
use demix_signal::Waveform;
use demix_spatial::instantaneous::evidence::CONVOLUTIVE;
use demix_spatial::instantaneous::*;
use material::{Pair, RATE, Room, pairs};
use ndarray::Array2;
use rayon::prelude::*;

type Method = Box<dyn InstantaneousMethod>;
type Part = (&'static str, fn(&Study));

struct Study {
    data: PathBuf,
    output: PathBuf,
    pairs: Vec<Pair>,
}

/// Mixtures of every pair.
const SEEDS: u64 = 2;

fn main() {
    let Some(data) = std::env::var_os("DEMIX_TEST_DATA") else {
        println!("DEMIX_TEST_DATA is not set: nothing to measure");
        return;
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let output = PathBuf::from(arguments.first().expect("an output folder"));
    let (choose, report) = pairs(Path::new(&data));
    let pairs = if arguments.get(1).is_some_and(|word| word == "choose") { choose } else { report };
    let study = Study { data: data.into(), output, pairs };
    println!("{} pairs, {SEEDS} mixtures of each\n", study.pairs.len());
    let parts: [Part; 5] = [
        ("one-lag", Study::one_lag),
        ("how-many", Study::how_many_lags),
        ("forms", Study::forms),
        ("echoes", Study::echoes),
        ("evidence", Study::evidence),
    ];
    let asked = arguments.get(2..).unwrap_or_default();
    for (name, part) in parts {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            part(&study);
        }
    }
}

fn sobi(lags: usize, longest_lag: f64, spacing: Spacing) -> Method {
    let settings = SobiSettings { lags: LagSettings { lags, longest_lag, spacing }, ..Default::default() };
    Box::new(Sobi::new(settings).expect("in range"))
}

fn amuse(lag: f64) -> Method {
    Box::new(Amuse::new(AmuseSettings { lag }).expect("in range"))
}

fn decorrelation(form: Form) -> Method {
    let mut settings = DecorrelationSettings::default();
    settings.equations.form = form;
    Box::new(Decorrelation::new(settings).expect("in range"))
}

/// Signal-to-interference ratio of both outputs in dB, their mean, for the better order.
fn sir(found: &InstantaneousDemixing, images: &[Array2<f32>]) -> f64 {
    let power = |output: usize, source: usize| {
        let w = found.demixing.row(output);
        let y = images[source].outer_iter().zip(w).fold(vec![0.0; images[0].ncols()], |mut y, (x, &w)| {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y += w * f64::from(x));
            y
        });
        y.iter().map(|y| y * y).sum::<f64>()
    };
    let p = [[power(0, 0), power(0, 1)], [power(1, 0), power(1, 1)]];
    let db = |a: f64, b: f64| 10.0 * ((a + 1e-12) / (b + 1e-12)).log10();
    let straight = db(p[0][0], p[0][1]) + db(p[1][1], p[1][0]);
    let crossed = db(p[0][1], p[0][0]) + db(p[1][0], p[1][1]);
    0.5 * straight.max(crossed)
}

fn mixture(images: &[Array2<f32>]) -> Waveform {
    Waveform::new(&images[0] + &images[1], RATE)
}

impl Study {
    /// SIR of every method (outer) on every pair and seed (inner), for speech and for music.
    fn sirs(&self, methods: &[Method], room: &Room, seeds: u64) -> Vec<(Vec<f64>, Vec<f64>)> {
        let cases: Vec<(&Pair, u64)> =
            self.pairs.iter().flat_map(|pair| (0..seeds).map(move |seed| (pair, seed))).collect();
        let rows: Vec<(bool, Vec<f64>)> = cases
            .par_iter()
            .map(|(pair, seed)| {
                let images = room.images(&self.data, &pair.sources, *seed);
                let x = mixture(&images);
                let one = |method: &Method| sir(&method.demix(&x, 2, &mut ()).expect("demixes"), &images);
                (pair.speech, methods.iter().map(one).collect())
            })
            .collect();
        (0..methods.len())
            .map(|k| {
                let of =
                    |speech: bool| rows.iter().filter(|row| row.0 == speech).map(|row| row.1[k]).collect();
                (of(true), of(false))
            })
            .collect()
    }

    fn save(
        &self,
        name: &str,
        title: &str,
        (x_title, y_title): (&str, &str),
        groups: &[String],
        series: &[(&str, Vec<Vec<f64>>)],
    ) {
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let series: Vec<BoxSeries<'_>> =
            series.iter().map(|(name, values)| BoxSeries { name, values }).collect();
        let picture = boxes(&BoxPlot { title, x_title, y_title, groups: &groups, series: &series });
        let path = self.output.join(format!("instantaneous-{name}.png"));
        std::fs::write(&path, picture.to_png()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// A table of medians with quartiles, and the picture.
    fn show(
        &self,
        name: &str,
        title: &str,
        x_title: &str,
        groups: &[String],
        found: &[(Vec<f64>, Vec<f64>)],
    ) {
        println!("{title}\n");
        println!("{:>16} {:>24} {:>24}", "", "speech", "music");
        for (group, (speech, music)) in groups.iter().zip(found) {
            println!("{group:>16} {:>24} {:>24}", five(speech), five(music));
        }
        println!();
        let series = [
            ("speech", found.iter().map(|f| f.0.clone()).collect()),
            ("music", found.iter().map(|f| f.1.clone()).collect()),
        ];
        self.save(name, title, (x_title, "SIR (dB)"), groups, &series);
    }

    /// Which lag, when there is one beside lag 0.
    fn one_lag(&self) {
        let lags = [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
        let methods: Vec<Method> = lags.iter().map(|&lag| amuse(lag)).collect();
        let found = self.sirs(&methods, &Room::Gains, 1);
        let names: Vec<String> = lags.iter().map(|lag| format!("{lag}")).collect();
        self.show("one-lag", "Two lags, the first of which is 0", "Second lag (ms)", &names, &found);
    }

    /// How many lags, how long, how spread.
    fn how_many_lags(&self) {
        let counts = [1, 2, 5, 10, 20, 50, 200];
        let longest = [1.0, 10.0, 100.0];
        println!(
            "Median and lower quartile of the SIR (dB) of speech and music: number of lags by the longest lag\n"
        );
        for spacing in [Spacing::Linear, Spacing::Geometric] {
            println!("{spacing}");
            println!("{:>8} {}", "", longest.map(|l| format!("{:>18}", format!("{l} ms"))).join(""));
            for n in counts {
                let methods: Vec<Method> = longest.iter().map(|&longest| sobi(n, longest, spacing)).collect();
                let found = self.sirs(&methods, &Room::Gains, 1);
                let texts = found.iter().map(|(speech, music)| {
                    let q = |v: &[f64]| format!("{:.0} {:.0}", quantile(v, 0.5), quantile(v, 0.25));
                    format!("{:>18}", format!("{} | {}", q(speech), q(music)))
                });
                println!("{n:>8} {}", texts.collect::<String>());
            }
            println!();
        }
        let default = LagSettings::default();
        let methods: Vec<Method> =
            counts.iter().map(|&n| sobi(n, default.longest_lag, default.spacing)).collect();
        let found = self.sirs(&methods, &Room::Gains, 1);
        let title = format!("Lags spread up to {} ms", default.longest_lag);
        self.show("how-many", &title, "Number of lags", &counts.map(|n| n.to_string()), &found);
    }

    /// Which F.
    fn forms(&self) {
        let forms = [Form::TwoLags, Form::Plain, Form::Normalized, Form::Variance, Form::L1, Form::Joint];
        let methods: Vec<Method> = forms.iter().map(|&form| decorrelation(form)).collect();
        let names = forms.map(|form| form.name().to_string());
        let found = self.sirs(&methods, &Room::Gains, SEEDS);
        self.show("forms", "Forms of F", "", &names, &found);
        let found = self.sirs(&methods, &Room::NarrowGains(5.0), SEEDS);
        self.show("forms-narrow", "Forms of F, columns of A 5\u{b0} apart", "", &names, &found);
    }

    /// From gains to rooms.
    fn echoes(&self) {
        let rooms = rooms();
        let methods: [(&str, Method); 5] = [
            ("two lags", decorrelation(Form::TwoLags)),
            ("l1", decorrelation(Form::L1)),
            ("sobi", Box::new(Sobi::new(SobiSettings::default()).expect("in range"))),
            ("jade", Box::new(Jade::new(JadeSettings::default()).expect("in range"))),
            ("fastica", Box::new(FastIca::new(FastIcaSettings::default()).expect("in range"))),
        ];
        let (names, methods): (Vec<&str>, Vec<Method>) = methods.into_iter().unzip();
        let found: Vec<Vec<Vec<f64>>> = rooms
            .iter()
            .map(|room| self.sirs(&methods, room, SEEDS).into_iter().map(|(a, b)| [a, b].concat()).collect())
            .collect();
        println!("SIR (dB), speech and music together\n");
        println!("{:>20} {}", "", names.iter().map(|name| format!("{name:>22}")).collect::<String>());
        for (room, found) in rooms.iter().zip(&found) {
            let texts = found.iter().map(|values| format!("{:>22}", five(values)));
            println!("{:>20} {}", room.name(), texts.collect::<String>());
        }
        println!();
        let series: Vec<(&str, Vec<Vec<f64>>)> = names
            .iter()
            .enumerate()
            .map(|(k, &name)| (name, found.iter().map(|room| room[k].clone()).collect()))
            .collect();
        let groups: Vec<String> = rooms.iter().map(Room::name).collect();
        self.save("echoes", "From gains over echoes to rooms", ("", "SIR (dB)"), &groups, &series);
    }

    /// The evidence, and how often it errs.
    fn evidence(&self) {
        let mut rooms = rooms();
        rooms.insert(1, Room::NarrowGains(5.0));
        println!("Evidence of a convolutive mixture; called convolutive above {CONVOLUTIVE}\n");
        println!("{:>20} {:>30} {:>16}", "", "median (range)", "called so");
        let mut all = [Vec::new(), Vec::new()];
        for room in &rooms {
            let cases: Vec<(&Pair, u64)> =
                self.pairs.iter().flat_map(|pair| (0..SEEDS).map(move |seed| (pair, seed))).collect();
            let values: Vec<(bool, f64)> = cases
                .par_iter()
                .map(|(pair, seed)| {
                    let images = room.images(&self.data, &pair.sources, *seed);
                    (pair.speech, convolutive_evidence(&mixture(&images), 2).expect("a mixture").evidence)
                })
                .collect();
            let only: Vec<f64> = values.iter().map(|value| value.1).collect();
            let called = only.iter().filter(|&&e| e > CONVOLUTIVE).count();
            println!(
                "{:>20} {:>30} {:>16}",
                room.name(),
                format!(
                    "{:.4} ({:.4} to {:.4})",
                    quantile(&only, 0.5),
                    quantile(&only, 0.0),
                    quantile(&only, 1.0)
                ),
                format!("{called} of {}", only.len())
            );
            for (of, speech) in all.iter_mut().zip([true, false]) {
                let values = values.iter().filter(|value| value.0 == speech);
                // in dB: they span three powers of ten
                of.push(values.map(|value| 10.0 * value.1.max(1e-5).log10()).collect());
            }
        }
        println!();
        let groups: Vec<String> = rooms.iter().map(Room::name).collect();
        let [speech, music] = all;
        let series = [("speech", speech), ("music", music)];
        let title = format!(
            "Evidence of a convolutive mixture, which it is called above {:.0} dB",
            10.0 * CONVOLUTIVE.log10()
        );
        self.save("evidence", &title, ("", "Evidence (dB)"), &groups, &series);
    }
}

fn rooms() -> Vec<Room> {
    let responses = |folder, kept| Room::Responses { folder, kept };
    let ism = "ism_T300_2mic_5.66cm_2m";
    vec![
        Room::Gains,
        Room::Echo { level: -20.0, longest: 1.0 },
        Room::Echo { level: -20.0, longest: 20.0 },
        Room::Echo { level: -10.0, longest: 20.0 },
        responses(ism, 1.0),
        responses(ism, 10.0),
        responses(ism, 50.0),
        responses(ism, 400.0),
        responses("measured_surrey_roomA", 400.0),
    ]
}

/// The value below which a share of the values lies, between neighbours along a line.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return f64::NAN;
    }
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + place.fract() * (above - below)
}

fn five(values: &[f64]) -> String {
    format!("{:.1} ({:.1} to {:.1})", quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75))
}
