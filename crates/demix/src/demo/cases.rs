//! The separations of each piece.

use demix_eval::{Order, SiSettings, si_sdr};
use demix_nmf::{Grouping, NmfSettings};
use demix_signal::{StftSettings, Waveform};

use super::pictures::{self, Drawing, Drawn};
use super::songs::{self, Piece, Stem, StruckPiece, Take};
use super::{
    Attempt, DemoCase, DemoContent, DemoError, DemoFile, DemoSettings, Illustration, SourceScore, Steps,
};
use crate::dictionary::{Dictionary, learn};
use crate::mono::nmf::NmfSoundSettings;
use crate::mono::{NmfMethodSettings, NmfSeparator};
use crate::separation::{Separation, Separator as _};

/// Steps of all cases together: factorisations, and the drawing of each case.
pub const STEPS: usize = 2 + 3 + 7;
/// K of each source of the loop, as in the lecture.
const COMPONENTS: usize = 25;

/// Between Euclidean (2), which with some seeds has no component to spare for the quiet hammers, and Kullback-Leibler
/// (1), which cares so much for them that with K = 3 it may merge two notes to make room.
const STRUCK_BETA: f64 = 1.5;

/// A window of 93 ms, four frames in it.
fn transform() -> StftSettings {
    StftSettings::new(2048, 512)
}

fn settings(components: usize, seed: u64) -> NmfMethodSettings {
    NmfMethodSettings {
        nmf: NmfSettings { components, seed, iterations: 200, ..NmfSettings::default() },
        sound: NmfSoundSettings::default(),
        stft: transform(),
    }
}

/// Every component a source; of several random starts the one that explains the spectrogram best.
fn each_component(components: usize, seed: u64) -> Result<NmfSeparator, DemoError> {
    let mut settings = settings(components, seed);
    settings.nmf.beta = STRUCK_BETA;
    settings.nmf.restarts = 5;
    settings.sound.grouping = Grouping::None;
    Ok(NmfSeparator::new(settings, components)?)
}

/// Two sources of a dozen components each, gathered by guessing. Fewer components and powers make guessing easier:
/// they leave the quiet shades of a sound to its loud components. Found best on eight seeds.
fn unsupervised(seed: u64) -> Result<NmfSeparator, DemoError> {
    let mut settings = settings(12, seed);
    settings.sound.spectrum_exponent = 2.0;
    Ok(NmfSeparator::new(settings, 2)?)
}

/// What an attempt is called and told about.
struct Telling {
    id: &'static str,
    name: &'static str,
    text: &'static str,
}

/// A piece on its way to a [`DemoCase`].
struct Studio<'a, 'b> {
    id: &'static str,
    mixture: &'a Waveform,
    draw: bool,
    steps: &'a mut Steps<'b>,
    files: &'a mut Vec<DemoFile>,
}

impl Studio<'_, '_> {
    /// Keeps a sound and tells its path.
    fn sound(&mut self, name: &str, sound: &Waveform) -> String {
        let path = format!("{}/{name}.wav", self.id);
        self.files.push(DemoFile { path: path.clone(), content: DemoContent::Sound(sound.clone()) });
        path
    }

    fn references(&mut self, folder: &str, stems: &[Stem]) -> Vec<String> {
        stems.iter().map(|stem| self.sound(&format!("{folder}/{}", stem.name), &stem.sound)).collect()
    }

    /// Separates and judges; the sources then stand in the order of the stems.
    fn attempt(
        &mut self,
        telling: Telling,
        separator: &NmfSeparator,
        (stems, references): (&[Stem], &[String]),
    ) -> Result<(Attempt, Separation), DemoError> {
        let mixture = self.mixture;
        let mut separation = self.steps.step(|watch| separator.separate(mixture, watch))?;
        let truth: Vec<&Waveform> = stems.iter().map(|stem| &stem.sound).collect();
        let estimates: Vec<&Waveform> = separation.sources.iter().map(|source| &source.image).collect();
        let scores = si_sdr(&truth, &estimates, &SiSettings { order: Order::Best, ..SiSettings::default() })?;
        let order = Order::all_from_one(stems.len());
        let baseline = si_sdr(&truth, &[mixture], &SiSettings { order, ..SiSettings::default() })?;
        put_in_order(&mut separation, &scores.permutation);
        let mut sources = Vec::new();
        for (n, stem) in stems.iter().enumerate() {
            sources.push(SourceScore {
                name: stem.name.clone(),
                reference: references[n].clone(),
                separated: self.sound(&format!("{}/{}", telling.id, stem.name), &separation.sources[n].image),
                si_sdr: scores.sdr[n],
                mixture_si_sdr: baseline.sdr[n],
            });
        }
        let Telling { id, name, text } = telling;
        Ok((Attempt { id, name, text, sources, pictures: Vec::new() }, separation))
    }

    /// Draws the case and its attempts, and puts all together.
    fn case(
        mut self,
        title: &'static str,
        text: &'static str,
        stems: &[Stem],
        attempts: Vec<(Attempt, Separation)>,
    ) -> Result<DemoCase, DemoError> {
        let mixture = self.sound("mixture", self.mixture);
        let drawing = Drawing { folder: self.id, mixture: self.mixture, transform: transform() };
        let draw = self.draw;
        let (of_case, of_attempts) = self.steps.step(|_| {
            if !draw {
                return Ok::<_, DemoError>((Vec::new(), attempts.iter().map(|_| Vec::new()).collect()));
            }
            Ok((pictures::of_case(&drawing, stems, &attempts)?, pictures::of_attempts(&drawing, &attempts)?))
        })?;
        let pictures = self.keep(of_case);
        let mut finished = Vec::new();
        for ((attempt, _), drawn) in attempts.into_iter().zip(of_attempts) {
            finished.push(Attempt { pictures: self.keep(drawn), ..attempt });
        }
        Ok(DemoCase {
            id: self.id,
            title,
            text,
            mixture,
            attempts: finished,
            pictures,
            finding: String::new(),
        })
    }

    /// Hands pictures over and tells where they are.
    fn keep(&mut self, drawn: Vec<Drawn>) -> Vec<Illustration> {
        let mut illustrations = Vec::new();
        for Drawn { illustration, png } in drawn {
            let path = illustration.path.clone();
            self.files.push(DemoFile { path, content: DemoContent::Bytes(png) });
            illustrations.push(illustration);
        }
        illustrations
    }
}

/// Sources and components in the order of the references: estimate `permutation[n]` belongs to reference n.
fn put_in_order(separation: &mut Separation, permutation: &[usize]) {
    let mut place = vec![0; permutation.len()];
    permutation.iter().enumerate().for_each(|(n, &estimate)| place[estimate] = n);
    separation.sources = permutation.iter().map(|&estimate| separation.sources[estimate].clone()).collect();
    if let Some(factors) = &mut separation.outcome.factors {
        factors.source_of.iter_mut().for_each(|source| *source = place[*source]);
    }
}

/// 'Mary had a little lamb', K = 3.
pub fn mary(
    demo: &DemoSettings,
    steps: &mut Steps<'_>,
    files: &mut Vec<DemoFile>,
) -> Result<DemoCase, DemoError> {
    let seed = demo.seed;
    let Piece { mixture, stems } = songs::mary(seed).notes;
    let mut studio = Studio { id: "mary", mixture: &mixture, draw: demo.pictures, steps, files };
    let references = studio.references("reference", &stems);
    let telling = Telling {
        id: "k3",
        name: "K = 3",
        text: "Three components, no other knowledge. Their order and names were found by comparison with the \
               references, for the table only.",
    };
    let attempt = studio.attempt(telling, &each_component(3, seed)?, (&stems, &references))?;
    let mut case = studio.case(
        "Mary had a little lamb",
        "A tune on three pitches is given to the factorisation as one recording; nothing tells it what a note is. \
         Each of the three components turns out to be one pitch: its spectrum in the dictionary, and the moments \
         it is played in the activations, which is a transcription of the tune.",
        &stems,
        vec![attempt],
    )?;
    case.finding = format!(
        "Each pitch is {:.1} dB better than in the mixture on average.",
        case.attempts[0].mean_improvement()
    );
    Ok(case)
}

/// Three notes, then their chord, K = 3 and K = 4.
pub fn chord(
    demo: &DemoSettings,
    steps: &mut Steps<'_>,
    files: &mut Vec<DemoFile>,
) -> Result<DemoCase, DemoError> {
    let seed = demo.seed;
    let StruckPiece { notes, tones_and_hammer } = songs::notes_then_chord(seed);
    let mut studio = Studio { id: "chord", mixture: &notes.mixture, draw: demo.pictures, steps, files };
    let three = studio.references("reference-notes", &notes.stems);
    let four = studio.references("reference-parts", &tones_and_hammer.stems);
    let telling = Telling {
        id: "k3",
        name: "K = 3",
        text: "Three components: every note with the noise of its hammer.",
    };
    let first = studio.attempt(telling, &each_component(3, seed)?, (&notes.stems, &three))?;
    let telling = Telling {
        id: "k4",
        name: "K = 4",
        text: "Four components: the strings of each note, and the hammer of all.",
    };
    let second = studio.attempt(telling, &each_component(4, seed)?, (&tones_and_hammer.stems, &four))?;
    let mut case = studio.case(
        "Three notes, then their chord",
        "Three notes are heard one after another, then all at once; the factorisation uses what they have in \
         common to take the chord apart, although its notes share partials. With a fourth component to spend, it \
         separates the knock of the hammers from the ringing of the strings.",
        &tones_and_hammer.stems,
        vec![first, second],
    )?;
    let hammer = case.attempts[1].sources.last().expect("four sources");
    case.finding = if hammer.improvement() > 3.0 {
        format!(
            "With K = 4 the fourth component catches the attacks: the hammer is {:.1} dB better than in the mixture.",
            hammer.improvement()
        )
    } else {
        format!(
            "With K = 4 the fourth component does not catch the attacks with this seed: the hammer is only {:.1} dB \
             better than in the mixture.",
            hammer.improvement()
        )
    };
    Ok(case)
}

/// Drums and bass: unsupervised, semi-supervised, supervised.
pub fn drums_and_bass(
    demo: &DemoSettings,
    steps: &mut Steps<'_>,
    files: &mut Vec<DemoFile>,
) -> Result<DemoCase, DemoError> {
    let seed = demo.seed;
    let Piece { mixture, stems } = songs::drums_and_bass(seed, Take::Loop);
    let rehearsal = songs::drums_and_bass(seed, Take::Rehearsal);
    let settings = settings(COMPONENTS, seed);
    let mut dictionaries = Vec::new();
    for Stem { name, sound } in rehearsal.stems {
        let audio = [(format!("{name} of another take"), sound)];
        let exponent = settings.sound.spectrum_exponent;
        let learned =
            steps.step(|watch| learn(&name, &audio, &settings.stft, exponent, &settings.nmf, watch))?;
        dictionaries.push(learned.dictionary);
    }
    let [drums, bass] = <[Dictionary; 2]>::try_from(dictionaries).expect("the loop has two stems");

    let mut studio = Studio { id: "loop", mixture: &mixture, draw: demo.pictures, steps, files };
    let paths = studio.references("reference", &stems);
    let references = (&stems[..], &paths[..]);
    let found_alone = studio.attempt(
        Telling {
            id: "unsupervised",
            name: "unsupervised",
            text: "Nothing is known: 24 components are learned from the mixture and gathered into two sources by \
                   how noisy and how sudden they are, which is a guess.",
        },
        &unsupervised(seed)?,
        references,
    )?;
    let free = |name: &str| vec![(name.to_string(), COMPONENTS)];
    let bass_known = studio.attempt(
        Telling {
            id: "bass-known",
            name: "semi-supervised, bass known",
            text: "25 spectra of the bass were learned from another take; the drums are learned from the mixture.",
        },
        &NmfSeparator::with_dictionaries(settings.clone(), vec![bass.clone()], free("drums"))?,
        references,
    )?;
    let drums_known = studio.attempt(
        Telling {
            id: "drums-known",
            name: "semi-supervised, drums known",
            text: "25 spectra of the drums were learned from another take; the bass is learned from the mixture.",
        },
        &NmfSeparator::with_dictionaries(settings.clone(), vec![drums.clone()], free("bass"))?,
        references,
    )?;
    let supervised = studio.attempt(
        Telling {
            id: "supervised",
            name: "supervised",
            text: "25 spectra of each were learned from another take; only when and how loud they sound is found \
                   in the mixture.",
        },
        &NmfSeparator::with_dictionaries(settings, vec![drums, bass], Vec::new())?,
        references,
    )?;
    studio.case(
        "Drums and bass",
        "A loop of drums and electric bass is separated with more and more knowledge. Dictionaries come from \
         another take with other patterns, another tempo and other strokes: what an instrument sounds like carries \
         over, what it plays does not have to be known.",
        &stems,
        vec![found_alone, bass_known, drums_known, supervised],
    )
}
