//! `index.html`: plays and shows everything side by side; needs no server, no network, no script but one that
//! stops a sound when the next one starts.

use std::fmt::Write as _;

use super::{Attempt, DemoCase, Illustration, SourceScore};

pub(crate) const STYLE: &str = include_str!("page.css");

/// One sound at a time.
pub(crate) const SCRIPT: &str = "document.addEventListener('play', function (event) {\
  document.querySelectorAll('audio').forEach(function (audio) { if (audio !== event.target) audio.pause(); });\
}, true);";

/// The page.
pub fn index(cases: &[DemoCase], seed: u64) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>demix: one recording, taken apart</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <div class=\"page\">\n<header>\n<h1>One recording, taken apart</h1>\n\
         <p>Three little pieces, made by demix itself and separated again by non-negative matrix factorisation: the \
         spectrogram becomes a dictionary of spectra times their activations over time. Since the parts are known, \
         every result has a score, and every part can be heard next to what was found of it.</p>\n\
         <nav aria-label=\"Pieces\"><ul>\n"
    );
    let links = cases.iter().map(|case| (case.id, case.title)).chain([("scores", "All scores")]);
    for (id, title) in links {
        push(&mut page, format_args!("<li><a href=\"#{}\">{}</a></li>\n", escape(id), escape(title)));
    }
    page.push_str("</ul></nav>\n</header>\n<main>\n");
    cases.iter().for_each(|case| write_case(&mut page, case));
    write_scores(&mut page, cases);
    push(
        &mut page,
        format_args!(
            "</main>\n<footer><p>Made by demix {} with seed {seed}. Every sound and picture lies beside this \
             page.</p></footer>\n</div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            escape(crate::VERSION)
        ),
    );
    page
}

pub(crate) fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes any text");
}

fn write_case(page: &mut String, case: &DemoCase) {
    let (id, title) = (escape(case.id), escape(case.title));
    push(
        page,
        format_args!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n<p>{}</p>\n\
             <div class=\"mixture\"><strong>Mixture</strong>{}</div>\n",
            escape(case.text),
            audio(&case.mixture, &format!("{}: the mixture", case.title))
        ),
    );
    for attempts in case.attempts.chunk_by(same_references) {
        write_listening(page, case, attempts);
    }
    page.push_str("<div class=\"overview\">\n");
    write_pictures(page, &case.pictures);
    page.push_str("<div>\n<dl>\n");
    for Attempt { name, text, .. } in &case.attempts {
        push(page, format_args!("<dt>{}</dt><dd>{}</dd>\n", escape(&capital(name)), escape(text)));
    }
    push(page, format_args!("</dl>\n<p class=\"finding\">{}</p>\n</div>\n</div>\n", escape(&case.finding)));
    for (n, attempt) in case.attempts.iter().enumerate().filter(|(_, attempt)| !attempt.pictures.is_empty()) {
        let open = if n + 1 == case.attempts.len() { " open" } else { "" };
        let name = escape(&capital(attempt.name));
        push(
            page,
            format_args!(
                "<details{open}><summary>{name}: sources, factors, masks</summary>\n<div class=\"pictures\">\n"
            ),
        );
        write_pictures(page, &attempt.pictures);
        page.push_str("</div>\n</details>\n");
    }
    page.push_str("</section>\n");
}

fn same_references(one: &Attempt, other: &Attempt) -> bool {
    let references =
        |attempt: &Attempt| attempt.sources.iter().map(|s| s.reference.clone()).collect::<Vec<_>>();
    references(one) == references(other)
}

/// A column for each source; a row of references, then one for each attempt.
fn write_listening(page: &mut String, case: &DemoCase, attempts: &[Attempt]) {
    page.push_str(
        "<table class=\"listen\">\n<caption>What the mixture is made of, and what was found of it, with score and gain \
         over the mixture</caption>\n<thead><tr><th scope=\"col\">Source</th>",
    );
    let sources = &attempts[0].sources;
    for source in sources {
        push(page, format_args!("<th scope=\"col\">{}</th>", escape(&source.name)));
    }
    page.push_str("</tr></thead>\n<tbody>\n<tr><th scope=\"row\">Reference</th>");
    for source in sources {
        let label = format!("{}: {}, reference", case.title, source.name);
        write_cell(page, &source.name, &audio(&source.reference, &label), "");
    }
    page.push_str("</tr>\n");
    for attempt in attempts {
        push(page, format_args!("<tr><th scope=\"row\">{}</th>", escape(&capital(attempt.name))));
        for source in &attempt.sources {
            let label = format!("{}: {}, separated, {}", case.title, source.name, attempt.name);
            write_cell(page, &source.name, &audio(&source.separated, &label), &score(source));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
}

/// A sound with what is said of it; the label stands for the heading of the column on narrow screens.
pub(crate) fn write_cell(page: &mut String, label: &str, audio: &str, below: &str) {
    push(page, format_args!("<td data-label=\"{}\">{audio}", escape(label)));
    if !below.is_empty() {
        push(page, format_args!("<div class=\"score\">{below}</div>"));
    }
    page.push_str("</td>");
}

fn score(source: &SourceScore) -> String {
    format!("{} dB ({} dB)", decibel(source.si_sdr), gain(source.improvement()))
}

pub(crate) fn gain(improvement: f64) -> String {
    let class = if improvement > 0.0 { "gain" } else { "loss" };
    let sign = if improvement > 0.0 { "+" } else { "" };
    format!("<span class=\"{class}\">{sign}{}</span>", decibel(improvement))
}

fn write_pictures(page: &mut String, pictures: &[Illustration]) {
    for Illustration { path, caption, alt, size: (width, height) } in pictures {
        let (href, alt, caption) = (link(path), escape(alt), escape(caption));
        push(
            page,
            format_args!(
                "<figure><a href=\"{href}\"><img src=\"{href}\" width=\"{width}\" height=\"{height}\" alt=\"{alt}\" \
                 loading=\"lazy\"></a><figcaption>{caption}</figcaption></figure>\n"
            ),
        );
    }
}

fn write_scores(page: &mut String, cases: &[DemoCase]) {
    page.push_str(
        "<section id=\"scores\" aria-labelledby=\"scores-title\">\n<h2 id=\"scores-title\">All scores</h2>\n\
         <p>SI-SDR compares the energy of the wanted sound with that of everything else in the result, whatever its \
         loudness: 0 dB means as much of one as of the other, 10 dB ten times as much. The gain is how much better \
         the result is than the mixture in its place.</p>\n",
    );
    for case in cases {
        push(
            page,
            format_args!(
                "<p class=\"finding\"><strong>{}.</strong> {}</p>\n",
                escape(case.title),
                escape(&case.finding)
            ),
        );
    }
    page.push_str(
        "<table class=\"scores\">\n<caption>SI-SDR of every separated source</caption>\n<thead><tr>\
         <th scope=\"col\">Separation</th><th scope=\"col\">Source</th>\
         <th scope=\"col\" class=\"number\">SI-SDR (dB)</th><th scope=\"col\" class=\"number\">Gain (dB)</th></tr></thead>\n",
    );
    for case in cases {
        push(
            page,
            format_args!(
                "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"4\">{}</th></tr>\n",
                escape(case.title)
            ),
        );
        for attempt in &case.attempts {
            for source in &attempt.sources {
                push(
                    page,
                    format_args!(
                        "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
                        escape(&capital(attempt.name)),
                        escape(&source.name),
                        decibel(source.si_sdr),
                        gain(source.improvement())
                    ),
                );
            }
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table>\n</section>\n");
}

pub(crate) fn audio(path: &str, label: &str) -> String {
    format!(
        "<audio controls preload=\"none\" src=\"{}\" aria-label=\"{}\"></audio>",
        link(path),
        escape(label)
    )
}

/// With a true minus sign.
pub(crate) fn decibel(value: f64) -> String {
    if value.is_nan() {
        return "n/a".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞".into() } else { "−∞".into() };
    }
    // no -0.0
    let rounded = (10.0 * value).round() / 10.0 + 0.0;
    format!("{rounded:.1}").replace('-', "−")
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Text and values of attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A relative path as a link: what has a meaning in addresses is written as %XX.
pub(crate) fn link(path: &str) -> String {
    let mut link = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                link.push(char::from(byte))
            }
            _ => push(&mut link, format_args!("%{byte:02X}")),
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str) -> DemoCase {
        let source = SourceScore {
            name: name.into(),
            reference: format!("loop/reference/{name}.wav"),
            separated: format!("loop/a/{name}.wav"),
            si_sdr: 7.25,
            mixture_si_sdr: 9.0,
        };
        DemoCase {
            id: "loop",
            title: "A & B",
            text: "text",
            mixture: "loop/mixture.wav".into(),
            attempts: vec![Attempt {
                id: "a",
                name: "first",
                text: "",
                sources: vec![source],
                pictures: vec![],
            }],
            pictures: vec![],
            finding: "1 < 2".into(),
        }
    }

    #[test]
    fn names_are_escaped_in_text_and_in_links() {
        let page = index(&[case("<b>\"F#4\" & 100%</b>")], 0);
        assert!(!page.contains("<b>") && !page.contains("\"F#4\""));
        assert!(page.contains("&lt;b&gt;&quot;F#4&quot; &amp; 100%&lt;/b&gt;"));
        assert!(page.contains("src=\"loop/a/%3Cb%3E%22F%234%22%20%26%20100%25%3C/b%3E.wav\""));
        assert!(page.contains("A &amp; B") && page.contains("1 &lt; 2"));
    }

    #[test]
    fn numbers_are_readable() {
        let shown =
            [(-3.13, "−3.1"), (-0.01, "0.0"), (12.0, "12.0"), (f64::NAN, "n/a"), (f64::INFINITY, "∞")];
        for (value, text) in shown {
            assert_eq!(decibel(value), text);
        }
        assert_eq!(gain(-1.75), "<span class=\"loss\">−1.8</span>");
    }
}
