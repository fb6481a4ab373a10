//! Checkpoints: they come back to the bit; broken and hostile bytes give a sentence.

mod common;

use std::sync::OnceLock;

use common::{LOSSES, examples, header, settings};
use demix_nn::{InputName, Loss, Network, OutputName, Trainer};
use proptest::prelude::*;
use serde_json::{Value, json};

fn state() -> &'static [u8] {
    static STATE: OnceLock<Vec<u8>> = OnceLock::new();
    STATE.get_or_init(|| {
        let mut trainer = Trainer::new(header(Loss::EmpiricalBayes), settings()).expect("a good header");
        trainer.epoch(&examples, 2, &mut ()).expect("excerpts that sound");
        trainer.state()
    })
}

fn network() -> &'static [u8] {
    static NETWORK: OnceLock<Vec<u8>> = OnceLock::new();
    NETWORK.get_or_init(|| Trainer::resume(state()).expect("a good state").network().to_bytes())
}

/// The bytes with another JSON header of safetensors; the tensors as they are.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    change(&mut header);
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat()
}

/// The bytes with other metadata of ours.
fn with_metadata(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_header(bytes, |header| {
        let text = header["__metadata__"]["demix"].as_str().expect("a text").to_string();
        let mut metadata: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut metadata);
        header["__metadata__"]["demix"] = metadata.to_string().into();
    })
}

fn refusal(bytes: &[u8]) -> String {
    match Network::from_bytes(bytes) {
        Ok(_) => panic!("taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn networks_come_back_to_the_bit() {
    for loss in LOSSES {
        for input in [InputName::Bands, InputName::Linear] {
            let mut header = header(loss);
            header.network.input = input;
            header.network.dropout = 0.123_456_789_012_345_6;
            let mut network = Trainer::new(header, settings()).unwrap().network();
            network.header_mut().log = json!({"score": 1.0 / 3.0});
            let bytes = network.to_bytes();
            let back = Network::from_bytes(&bytes).unwrap();
            assert_eq!(back.header(), network.header());
            assert_eq!(back.to_bytes(), bytes);
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let good = with_metadata(network(), |_| ());
    assert!(Network::from_bytes(&good).is_ok());
    let say = |change: &dyn Fn(&mut Value)| refusal(&with_metadata(network(), |json| change(json)));

    assert!(say(&|json| json["header"]["version"] = 7.into()).contains("version 7"));
    assert!(say(&|json| json["header"]["colour"] = 1.into()).contains("'colour'"));
    assert!(say(&|json| json["colour"] = 1.into()).contains("'colour'"));
    assert!(say(&|json| json["header"]["network"]["colour"] = 1.into()).contains("'colour'"));
    assert!(say(&|json| drop(json["header"].as_object_mut().unwrap().remove("loss"))).contains("'loss'"));
    assert!(
        say(&|json| drop(json["header"]["network"].as_object_mut().unwrap().remove("width")))
            .contains("'width'")
    );
    assert!(say(&|json| json["header"]["loss"] = "hinge".into()).contains("'hinge'"));
    assert!(say(&|json| json["header"]["sample_rate"] = (-1).into()).contains("'sample_rate'"));
    assert!(say(&|json| json["header"]["stft"]["fft"] = "auto".into()).contains("auto"));
    assert!(say(&|json| json["header"]["network"]["anchors"] = "1,1".into()).contains("rising"));
    // transforms that cannot be
    assert!(say(&|json| json["header"]["stft"]["hop"] = 65.into()).contains("hop=65"));
    assert!(say(&|json| json["header"]["stft"]["hop"] = 64.into()).contains("hop=64"));
    assert!(say(&|json| json["header"]["stft"]["window_length"] = 65.into()).contains("window_length=65"));
    assert!(say(&|json| *json = json!([1])).contains("not a JSON object"));
    // sizes that would fill the memory, and sizes that overflow
    let shape = say(&|json| json["header"]["network"]["width"] = 4096.into());
    assert!(shape.contains("[36, 24]") && shape.contains("[36, 4096]"), "{shape}");
    assert!(say(&|json| json["header"]["network"]["width"] = u64::MAX.into()).contains("width"));
    assert!(say(&|json| json["header"]["network"]["hidden"] = 3.into()).contains("'hidden.2.weight'"));
    assert!(say(&|json| json["header"]["network"]["hidden"] = 1.into()).contains("'hidden.1.bias'"));
    assert!(say(&|json| json["header"]["loss"] = "square-root".into()).contains("'rho.bias'"));

    let whole = network();
    let mut nan = whole.to_vec();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refusal(&nan).contains("NaN"));
    for length in [0, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        assert!(refusal(&whole[..length]).contains(&format!("{length} bytes")));
    }
    assert!(Network::from_bytes(&[whole, &[0]].concat()).is_err());
    let huge = with_header(whole, |header| header["sigma.weight"]["shape"] = json!([u64::MAX, u64::MAX]));
    assert!(Network::from_bytes(&huge).is_err());
    let strange = with_header(whole, |header| header["__metadata__"] = json!({"format": "pt"}));
    assert!(refusal(&strange).contains("no checkpoint of ours"));
    let halves = with_header(whole, |header| header["sigma.bias"]["dtype"] = "I32".into());
    assert!(refusal(&halves).contains("I32"));
}

#[test]
fn weights_that_are_finite_and_overflow_are_a_fault_of_the_file() {
    for loss in LOSSES {
        for output in [OutputName::Mask, OutputName::Relu] {
            for hidden in [1, 2, 5] {
                let mut header = header(loss);
                (header.network.output, header.network.hidden) = (output, hidden);
                let bytes = Trainer::new(header, settings()).unwrap().network().to_bytes();
                assert!(Network::from_bytes(&bytes).is_ok());
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let mut louder = bytes.clone();
                for value in louder[8 + length..].as_chunks_mut::<4>().0 {
                    *value = (1e12 * f32::from_le_bytes(*value)).to_le_bytes();
                }
                let error = refusal(&louder);
                assert!(error.contains("overflows"), "{loss} {output} {hidden}: {error}");
            }
        }
    }
}

#[test]
fn networks_and_trainings_are_told_apart() {
    assert!(refusal(state()).contains("interrupted training"));
    let error =
        |bytes: &[u8]| Trainer::resume(bytes).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error(network()).contains("not an interrupted training"));
    let say = |change: &dyn Fn(&mut Value)| error(&with_metadata(state(), |json| change(json)));
    assert!(say(&|json| json["training"]["step"] = (-1).into()).contains("'step'"));
    assert!(say(&|json| json["training"]["step"] = u64::MAX.into()).contains("'step'"));
    assert!(say(&|json| json["training"]["settings"]["rho"] = 2.into()).contains("rho"));
    assert!(
        say(&|json| json["training"]["settings"]["optimizer"] = "sgd".into())
            .contains("'first.hidden.0.bias'")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is done to the bytes: an error or a network, never a panic.
    #[test]
    fn corrupted_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
        length in prop::option::of(any::<prop::sample::Index>()),
        training in any::<bool>(),
    ) {
        let mut bytes = if training { state() } else { network() }.to_vec();
        // most of a file is weights, most of what can go wrong is in its head
        let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (place, value, in_head) in changes {
            let place = place.index(if in_head { head } else { bytes.len() });
            bytes[place] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(network) = Network::from_bytes(&bytes) {
            let _ = network.estimate(ndarray::Array2::ones((33, 3)).view(), None);
        }
        if let Ok(trainer) = Trainer::resume(&bytes) {
            prop_assert!(trainer.steps() < 1 << 48);
        }
    }
}
