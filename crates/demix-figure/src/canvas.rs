//! [`Canvas`]: shapes and text on pixels; [`Picture`]: the finished drawing.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

use crate::style::{INK, Rgb};

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../assets/DejaVuSans-subset.ttf"))
        .expect("the embedded font is valid")
});

/// Height of capitals and digits, and depth of descenders, as shares of the text size.
const CAPITAL: f32 = 0.76;
const DESCENT: f32 = 0.24;
/// Pictures higher than this are cut; callers stay below.
const MAX_SIDE: f32 = 30_000.0;

/// A finished drawing.
///
/// # Example
/// ```
/// let picture = demix_figure::cost_curve("Cost", &[9.0, 4.0, 2.0, 1.5]);
/// assert_eq!(picture.width, 1400);
/// assert!(picture.to_png().starts_with(b"\x89PNG"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Red, green, blue of each pixel, row by row from the top left; `3 * width * height` bytes.
    pub rgb: Vec<u8>,
    /// Every text in the picture and the box it fills; no two boxes overlap.
    pub labels: Vec<Label>,
}

/// A text in a [`Picture`].
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// What is written.
    pub text: String,
    /// Left edge in pixels.
    pub left: f32,
    /// Upper edge in pixels.
    pub top: f32,
    /// Right edge in pixels.
    pub right: f32,
    /// Lower edge in pixels.
    pub bottom: f32,
}

impl Picture {
    /// The picture as a PNG file: 8 bits per colour, no transparency.
    ///
    /// The same picture gives the same bytes.
    pub fn to_png(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.rgb))
            .expect("a picture has 3 * width * height bytes and memory takes them all");
        file
    }
}

/// A rectangle in pixels; whole numbers give crisp edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

impl Area {
    pub fn new(left: f32, top: f32, width: f32, height: f32) -> Self {
        let (left, top) = (left.round(), top.round());
        Self { left, top, width: width.round().max(1.0), height: height.round().max(1.0) }
    }

    pub fn right(&self) -> f32 {
        self.left + self.width
    }

    pub fn bottom(&self) -> f32 {
        self.top + self.height
    }

    /// The area with its upper edge `by` pixels higher.
    pub fn raised(self, by: f32) -> Self {
        Self { top: self.top - by, height: self.height + by, ..self }
    }

    pub fn middle(&self) -> (f32, f32) {
        (self.left + self.width / 2.0, self.top + self.height / 2.0)
    }
}

/// Which part of a text lies at the given point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Align {
    Left,
    Centre,
    Right,
}

impl Align {
    /// Share of the text's width that lies before the point.
    fn share(self) -> f32 {
        match self {
            Align::Left => 0.0,
            Align::Centre => 0.5,
            Align::Right => 1.0,
        }
    }
}

pub(crate) struct Canvas {
    pixels: Pixmap,
    labels: Vec<Label>,
}

impl Canvas {
    /// A white canvas.
    pub fn new(width: f32, height: f32) -> Self {
        let side = |x: f32| x.clamp(1.0, MAX_SIDE).ceil() as u32;
        let mut pixels = Pixmap::new(side(width), side(height)).expect("sides lie in 1..=30000");
        pixels.fill(Color::WHITE);
        Self { pixels, labels: Vec::new() }
    }

    pub fn finish(self) -> Picture {
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        let mut rgb = Vec::with_capacity(3 * width * height);
        self.pixels.data().chunks_exact(4).for_each(|p| rgb.extend_from_slice(&p[..3]));
        Picture { width, height, rgb, labels: self.labels }
    }

    pub fn fill(&mut self, area: Area, colour: Rgb) {
        if let Some(rect) = Rect::from_xywh(area.left, area.top, area.width, area.height) {
            self.pixels.fill_rect(rect, &paint(colour), Transform::identity(), None);
        }
    }

    /// The outline of `area`, outside of it.
    pub fn frame(&mut self, area: Area, thickness: f32, colour: Rgb) {
        let Area { left, top, width, height } = area;
        let (outer, t) = (width + 2.0 * thickness, thickness);
        self.fill(Area::new(left - t, top - t, outer, t), colour);
        self.fill(Area::new(left - t, area.bottom(), outer, t), colour);
        self.fill(Area::new(left - t, top, t, height), colour);
        self.fill(Area::new(area.right(), top, t, height), colour);
    }

    /// A line through `points`; one point alone is drawn as a dot.
    pub fn curve(&mut self, points: &[(f32, f32)], thickness: f32, colour: Rgb) {
        let Some(&(x, y)) = points.first() else { return };
        let mut path = PathBuilder::new();
        if points.len() == 1 {
            path.push_circle(x, y, 1.5 * thickness);
            if let Some(path) = path.finish() {
                let (rule, here) = (FillRule::Winding, Transform::identity());
                self.pixels.fill_path(&path, &paint(colour), rule, here, None);
            }
            return;
        }
        path.move_to(x, y);
        points[1..].iter().for_each(|&(x, y)| path.line_to(x, y));
        let Some(path) = path.finish() else { return };
        let stroke = Stroke {
            width: thickness,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.pixels.stroke_path(&path, &paint(colour), &stroke, Transform::identity(), None);
    }

    /// The polygon with the given corners.
    pub fn polygon(&mut self, corners: &[(f32, f32)], colour: Rgb) {
        let mut path = PathBuilder::new();
        for (i, &(x, y)) in corners.iter().enumerate() {
            if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        path.close();
        if let Some(path) = path.finish() {
            let (rule, here) = (FillRule::Winding, Transform::identity());
            self.pixels.fill_path(&path, &paint(colour), rule, here, None);
        }
    }

    /// Gives every pixel of `area` the colour of `pixel(row, column)`.
    pub fn image(&mut self, area: Area, pixel: impl Fn(usize, usize) -> Rgb) {
        let stride = self.pixels.width() as usize;
        let (left, top) = (area.left.max(0.0) as usize, area.top.max(0.0) as usize);
        let columns = (area.width as usize).min(stride.saturating_sub(left));
        let rows = (area.height as usize).min((self.pixels.height() as usize).saturating_sub(top));
        for row in 0..rows {
            let first = 4 * ((top + row) * stride + left);
            let line = &mut self.pixels.data_mut()[first..first + 4 * columns];
            for (column, four) in line.chunks_exact_mut(4).enumerate() {
                four[..3].copy_from_slice(&pixel(row, column));
            }
        }
    }

    /// One line of text whose middle height is `y`.
    pub fn text(&mut self, text: &str, x: f32, y: f32, size: f32, align: Align) {
        self.write(text, x, y, size, align, false);
    }

    /// One line of text that is read from below, along the vertical line `x`.
    pub fn text_upwards(&mut self, text: &str, x: f32, y: f32, size: f32, align: Align) {
        self.write(text, x, y, size, align, true);
    }

    fn write(&mut self, text: &str, x: f32, y: f32, size: f32, align: Align, upwards: bool) {
        let (glyphs, width) = glyphs(text, size);
        if width <= 0.0 {
            return;
        }
        // in the text's own frame: `along` from its start, `across` down from its middle height
        let start = -align.share() * width;
        let baseline = ((CAPITAL - DESCENT) / 2.0 * size).round();
        let (x, y) = (x.round(), y.round());
        let place = |along: f32, across: f32| match upwards {
            false => (x + along, y + across),
            true => (x + across, y - along),
        };
        let (a, b) = (place(start, -size / 2.0), place(start + width, size / 2.0));
        self.labels.push(Label {
            text: text.to_owned(),
            left: a.0.min(b.0),
            top: a.1.min(b.1),
            right: a.0.max(b.0),
            bottom: a.1.max(b.1),
        });
        for mut glyph in glyphs {
            glyph.position = point(glyph.position.x + start, baseline);
            let Some(outline) = FONT.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|column, row, cover| {
                let (along, across) = (corner.x + column as f32, corner.y + row as f32);
                // a pixel is named by its upper left corner, which turns into its lower left one
                let (px, py) = place(if upwards { along + 1.0 } else { along }, across);
                self.blend(px, py, INK, cover);
            });
        }
    }

    fn blend(&mut self, x: f32, y: f32, colour: Rgb, cover: f32) {
        let (width, height) = (self.pixels.width() as f32, self.pixels.height() as f32);
        if x < 0.0 || y < 0.0 || x >= width || y >= height {
            return;
        }
        let first = 4 * (y as usize * width as usize + x as usize);
        let pixel = &mut self.pixels.data_mut()[first..first + 3];
        let cover = cover.clamp(0.0, 1.0);
        for (below, above) in pixel.iter_mut().zip(colour) {
            *below = (f32::from(*below) * (1.0 - cover) + f32::from(above) * cover).round() as u8;
        }
    }
}

fn paint(colour: Rgb) -> Paint<'static> {
    let [red, green, blue] = colour;
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint.anti_alias = true;
    paint
}

/// The glyphs of a line of text that starts at 0, and its width.
fn glyphs(text: &str, size: f32) -> (Vec<Glyph>, f32) {
    // ab_glyph scales by the line height, the house style by the em
    let em = FONT.units_per_em().unwrap_or(2048.0);
    let scale = PxScale::from(size * FONT.height_unscaled() / em);
    let font = FONT.as_scaled(scale);
    let mut x = 0.0;
    let mut previous = None;
    let mut glyphs = Vec::new();
    for c in text.chars() {
        let id = font.glyph_id(if c.is_control() { ' ' } else { c });
        if let Some(previous) = previous {
            x += font.kern(previous, id);
        }
        glyphs.push(Glyph { id, scale, position: point(x, 0.0) });
        x += font.h_advance(id);
        previous = Some(id);
    }
    (glyphs, x)
}

/// Width of a line of text in pixels.
pub(crate) fn text_width(text: &str, size: f32) -> f32 {
    glyphs(text, size).1
}

/// `text`, or as much of its beginning as `width` and `characters` hold, followed by an ellipsis;
/// empty where not even the ellipsis fits.
pub(crate) fn fit(text: &str, size: f32, width: f32, characters: usize) -> String {
    let count = text.chars().take(characters.saturating_add(1)).count();
    if count <= characters && text_width(text, size) <= width {
        return text.to_owned();
    }
    let shortened = |n: usize| -> String {
        let start: String = text.chars().take(n).collect();
        format!("{}…", start.trim_end())
    };
    // widths grow with n, so the longest that fits is found by halving
    let (mut low, mut high) = (0, count.min(characters).saturating_sub(1));
    while low < high {
        let n = (low + high).div_ceil(2);
        if text_width(&shortened(n), size) <= width { low = n } else { high = n - 1 }
    }
    if text_width(&shortened(low), size) <= width { shortened(low) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_end_in_an_ellipsis_and_stay_inside() {
        for name in ["short", "a name that is much too long for its place", "音源分離音源分離音源分離"]
        {
            for width in [0.0, 10.0, 40.0, 200.0, 1000.0] {
                let text = fit(name, 26.0, width, 60);
                assert!(text.is_empty() || text_width(&text, 26.0) <= width, "{text}");
                assert!(text == name || text.is_empty() || text.ends_with('…'));
            }
        }
        assert_eq!(fit(&"x".repeat(61), 20.0, 1e6, 60).chars().count(), 60);
    }

    /// Rows and columns of the pixels that are not white.
    fn inked(picture: &Picture) -> Vec<(usize, usize)> {
        let pixels = picture.rgb.chunks(3).enumerate().filter(|(_, rgb)| rgb[0] < 250);
        pixels.map(|(i, _)| (i / picture.width, i % picture.width)).collect()
    }

    #[test]
    fn ink_stays_in_the_box_of_its_text() {
        for upwards in [false, true] {
            for text in ["Frequency (kHz)", "−1.5×10⁻³", "Ünïcödé gjpqy", "音\u{0}\n"] {
                let mut canvas = Canvas::new(400.0, 400.0);
                canvas.write(text, 200.0, 200.0, 26.0, Align::Centre, upwards);
                let picture = canvas.finish();
                let label = &picture.labels[0];
                let ink = inked(&picture);
                assert!(ink.len() > 20, "{text} is invisible");
                // accents above capitals and rounding reach a few pixels further
                let inside = |(y, x): &(usize, usize)| {
                    let (x, y) = (*x as f32, *y as f32);
                    x >= label.left - 5.0
                        && x <= label.right + 5.0
                        && y >= label.top - 5.0
                        && y <= label.bottom + 5.0
                };
                assert!(ink.iter().all(inside), "{text} {label:?}");
            }
        }
    }

    #[test]
    fn text_read_from_below_is_the_turned_text() {
        let draw = |upwards| {
            let mut canvas = Canvas::new(200.0, 200.0);
            canvas.write("F", 100.0, 100.0, 40.0, Align::Left, upwards);
            inked(&canvas.finish())
        };
        let turn = |(y, x): (usize, usize)| (199 - x, y);
        let mut turned: Vec<_> = draw(false).into_iter().map(turn).collect();
        turned.sort_unstable();
        assert_eq!(turned, draw(true));
    }
}
