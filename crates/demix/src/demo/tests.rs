//! The demo as a whole, performed once.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::*;

static DEMO: LazyLock<DemoResult> =
    LazyLock::new(|| run(&DemoSettings { pictures: false, ..DemoSettings::default() }, &mut ()).unwrap());

fn attempt<'a>(case: &str, id: &str) -> &'a Attempt {
    let case = DEMO.cases.iter().find(|c| c.id == case).unwrap();
    case.attempts.iter().find(|a| a.id == id).unwrap()
}

#[test]
fn separations_separate() {
    // returning the mixture, or shares of it, gains 0 dB; found: at least 12 dB on strings, 5 dB on the loop
    for (case, id, least) in [
        ("mary", "k3", 15.0),
        ("chord", "k3", 8.0),
        ("chord", "k4", 8.0),
        ("loop", "bass-known", 4.0),
        ("loop", "drums-known", 4.0),
        ("loop", "supervised", 6.0),
    ] {
        for source in &attempt(case, id).sources {
            let gain = source.improvement();
            assert!(gain > least, "{case}, {id}, {}: only {gain:.1} dB better than the mixture", source.name);
        }
    }
    assert!(DEMO.cases[1].finding.contains("catches the attacks"));
}

#[test]
fn knowledge_helps() {
    assert!(DEMO.ranking.holds, "{}", DEMO.ranking.sentence);
    assert_eq!(DEMO.cases[2].finding, DEMO.ranking.sentence);
}

#[test]
fn a_ranking_that_does_not_hold_says_where() {
    let with = |id, si_sdr| {
        let source = SourceScore { si_sdr, ..attempt("loop", "supervised").sources[0].clone() };
        Attempt { id, sources: vec![source], ..attempt("loop", "supervised").clone() }
    };
    let scores = |bass, unsupervised| {
        Ranking::of(&[
            with("unsupervised", unsupervised),
            with("bass-known", bass),
            with("drums-known", 7.0),
            with("supervised", 9.0),
        ])
    };
    assert!(scores(8.0, 3.0).holds);
    let better = scores(9.5, 3.0);
    assert!(
        !better.holds
            && better.sentence.contains("supervised is not better than semi-supervised with bass known")
    );
    let worse = scores(8.0, 7.5);
    assert!(
        !worse.holds
            && worse.sentence.contains("semi-supervised with drums known is not better than unsupervised")
    );
    assert!(!scores(8.0, f64::NAN).holds);
}

#[test]
fn sounds_are_whole_and_the_separated_ones_sum_to_the_mixture() {
    let sound = |path: &str| match DEMO.files.iter().find(|file| file.path == path).map(|file| &file.content)
    {
        Some(DemoContent::Sound(sound)) => sound,
        _ => panic!("{path} is no sound"),
    };
    for case in &DEMO.cases {
        let mixture = sound(&case.mixture);
        for attempt in &case.attempts {
            let mut rest = mixture.samples.clone();
            for source in &attempt.sources {
                rest -= &sound(&source.separated).samples;
                assert_eq!(sound(&source.reference).samples.dim(), mixture.samples.dim());
                assert!(sound(&source.separated).peak() <= 1.0, "{} clips", source.separated);
            }
            let largest = rest.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!(largest < 1e-5, "{}, {}: {largest} is left over", case.id, attempt.id);
        }
    }
}

#[test]
fn the_table_has_a_row_per_source() {
    let rows = DEMO.rows();
    assert_eq!(rows.len(), 3 + 3 + 4 + 4 * 2);
    assert!(rows.iter().all(|row| row.si_sdr.is_finite() && row.improvement.is_finite()));
}

/// Every `src` and `href` of a page that is not one of its own places.
fn links(page: &str) -> Vec<&str> {
    let parts = page.split("src=\"").skip(1).chain(page.split("href=\"").skip(1));
    parts.map(|rest| rest.split('"').next().unwrap()).filter(|link| !link.starts_with('#')).collect()
}

#[test]
fn the_page_shows_every_file_and_nothing_else() {
    let mut files = Vec::new();
    let mut steps = Steps { watch: &mut (), done: 0, total: cases::STEPS };
    let case = cases::mary(&DemoSettings::default(), &mut steps, &mut files).unwrap();
    let page = page::index(&[case], 0);
    let written: HashSet<&str> = files.iter().map(|file| &*file.path).collect();
    assert_eq!(written.len(), files.len(), "two files of one name");
    assert_eq!(links(&page).into_iter().collect::<HashSet<_>>(), written);
    for file in &files {
        match &file.content {
            DemoContent::Bytes(bytes) => {
                assert!(file.path.ends_with(".png") && bytes.starts_with(b"\x89PNG"))
            }
            DemoContent::Sound(_) => assert!(file.path.ends_with(".wav")),
        }
    }
}

#[test]
fn the_page_needs_no_network() {
    let page = DEMO.files.iter().find(|file| file.path == "index.html").unwrap();
    let DemoContent::Bytes(page) = &page.content else { panic!("the page is bytes") };
    let page = str::from_utf8(page).unwrap();
    assert!(!page.contains("http") && !page.contains("fetch(") && !page.contains("@import"));
    assert_eq!(
        page.matches("<audio").count(),
        page.matches("aria-label=").count() - 1,
        "a sound without a name"
    );
    for tag in ["section", "table", "div", "details", "figure", "td", "th", "tr", "dl"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}> is not closed");
    }
}

#[test]
fn progress_rises_to_its_end_and_can_be_cancelled() {
    let mut last = 0;
    let mut watch = |progress: Progress| {
        assert!(progress.done >= last && progress.done <= progress.total, "{progress:?} after {last}");
        last = progress.done;
        last < 2 * STEP + 10
    };
    let error = run(&DemoSettings { pictures: false, ..DemoSettings::default() }, &mut watch).unwrap_err();
    assert!(error.is_cancelled());
    assert!(last >= 2 * STEP + 10);
}
