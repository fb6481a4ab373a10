//! BSS Eval equals mir_eval (version 3: sources, images, framewise) and museval (version 4).

mod common;

use common::{assert_close, permutation, scores, signals};
use demix_eval::{BssEval, FILTER_LENGTH, FrameScores, Order, Silence, Target, Windows, bss_eval_framewise};

// Both sides solve in double precision: with a condition number of 1e7 (short signals, 2048 and more
// unknowns) scores agree to about 1e7 * 1e-16 * 4.34 dB = 4e-9 dB.
const TOLERANCE: f64 = 1e-8;

fn windows(length: usize, hop: usize) -> Windows {
    Windows { length, hop, silence: Silence::Window }
}

fn assert_frames(what: &str, found: &FrameScores, prefix: &str) {
    let flat = |table: &ndarray::Array2<f64>| table.iter().copied().collect::<Vec<_>>();
    assert_close(what, &flat(&found.sdr), &scores(&format!("{prefix}_sdr")), TOLERANCE);
    assert_close(what, &flat(&found.sir), &scores(&format!("{prefix}_sir")), TOLERANCE);
    assert_close(what, &flat(&found.sar), &scores(&format!("{prefix}_sar")), TOLERANCE);
    if let Some(isr) = &found.isr {
        assert_close(what, &flat(isr), &scores(&format!("{prefix}_isr")), TOLERANCE);
    }
}

#[test]
fn sources() {
    for case in ["sources_2src", "sources_3src"] {
        let (references, estimates) = signals(case);
        let track = BssEval::new(&references, &estimates, FILTER_LENGTH).unwrap();
        for (order, suffix) in [(Order::Best, ""), (Order::Best, "_fast"), (Order::Fixed, "_noperm")] {
            let found = track.sources(&order).unwrap();
            assert_close(case, &found.sdr, &scores(&format!("{case}/sdr{suffix}")), TOLERANCE);
            assert_close(case, &found.sir, &scores(&format!("{case}/sir{suffix}")), TOLERANCE);
            assert_close(case, &found.sar, &scores(&format!("{case}/sar{suffix}")), TOLERANCE);
            if order == Order::Best {
                assert_eq!(found.permutation, permutation(&format!("{case}/perm{suffix}")));
            }
        }
    }
}

#[test]
fn sources_framewise() {
    for case in ["sources_2src", "sources_3src"] {
        let (references, estimates) = signals(case);
        let found = bss_eval_framewise(
            &references,
            &estimates,
            FILTER_LENGTH,
            Target::Sources,
            &windows(8000, 4000),
            &Order::Fixed,
        );
        assert_frames(case, &found.unwrap(), &format!("{case}/fw"));
    }
}

#[test]
fn images() {
    for case in ["images_2src", "images_3src"] {
        let (references, estimates) = signals(case);
        let found =
            BssEval::new(&references, &estimates, FILTER_LENGTH).unwrap().images(&Order::Best).unwrap();
        assert_eq!(found.permutation, permutation(&format!("{case}/perm")));
        assert_close(case, &found.sdr, &scores(&format!("{case}/sdr")), TOLERANCE);
        assert_close(case, found.isr.as_ref().unwrap(), &scores(&format!("{case}/isr")), TOLERANCE);
        assert_close(case, &found.sir, &scores(&format!("{case}/sir")), TOLERANCE);
        assert_close(case, &found.sar, &scores(&format!("{case}/sar")), TOLERANCE);
    }
}

#[test]
fn version4() {
    let case = "museval_v4_2src";
    let (references, estimates) = signals(case);
    let track = BssEval::new(&references, &estimates, FILTER_LENGTH).unwrap();
    for (what, windows) in [
        ("v4", windows(4000, 4000)),
        ("v4_overlap", windows(4000, 2000)),
        ("v4_global", windows(usize::MAX, 4000)),
    ] {
        let found = track.version4(&windows, &Order::Fixed).unwrap();
        assert_frames(what, &found, &format!("{case}/{what}"));
        assert_eq!(found.starts.len(), found.sdr.ncols());
    }
    let framewise = bss_eval_framewise(
        &references,
        &estimates,
        FILTER_LENGTH,
        Target::Images,
        &windows(4000, 4000),
        &Order::Fixed,
    );
    assert_frames("filters per frame", &framewise.unwrap(), &format!("{case}/v4_framefilters"));

    let sources = track.sources(&Order::Fixed).unwrap();
    assert_close("sources", &sources.sdr, &scores(&format!("{case}/v3mode_sdr")), TOLERANCE);
    assert_close("sources", &sources.sir, &scores(&format!("{case}/v3mode_sir")), TOLERANCE);
    assert_close("sources", &sources.sar, &scores(&format!("{case}/v3mode_sar")), TOLERANCE);
}
