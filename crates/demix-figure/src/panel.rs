//! Parts that every picture is made of: heading, framed panel with axes, colour bar, legend.

use crate::axis::{Axis, Tick};
use crate::canvas::{Align, Area, Canvas, Picture, fit, text_width};
use crate::heat::ColourMap;
use crate::style::{
    COLOUR_BAR, GAP, GRID, INK, LABEL, LEFT, MARGIN, MOST, NAME_LENGTH, NOT_FINITE, NUMBER, Rgb, THIN, TICK,
    TITLE, WIDTH,
};

/// Height that the title of a picture takes, down to the panel or legend below it.
pub(crate) fn title_height(title: &str) -> f32 {
    if title.trim().is_empty() { MARGIN } else { MARGIN + TITLE + 20.0 }
}

/// The title of a picture, above the left edge of its panels.
pub(crate) fn draw_title(canvas: &mut Canvas, title: &str, left: f32) {
    let text = fit(title.trim(), TITLE, WIDTH - left - MARGIN, usize::MAX);
    canvas.text(&text, left, MARGIN + TITLE / 2.0, TITLE, Align::Left);
}

/// The name of a panel, above its upper left corner.
pub(crate) fn draw_heading(canvas: &mut Canvas, name: &str, area: Area) {
    let text = fit(name, LABEL, area.width, NAME_LENGTH);
    canvas.text(&text, area.left, area.top - GAP - LABEL / 2.0 - 2.0, LABEL, Align::Left);
}

/// The picture where there is nothing to draw.
pub(crate) fn no_data(title: &str) -> Picture {
    let mut canvas = Canvas::new(WIDTH, 240.0);
    draw_title(&mut canvas, title, MARGIN);
    canvas.text("no data", WIDTH / 2.0, 140.0, LABEL, Align::Centre);
    canvas.finish()
}

/// Explains the neutral colour, in the lower right corner.
pub(crate) fn draw_not_finite(canvas: &mut Canvas, height: f32) {
    let (text, y) = ("not finite", height - MARGIN - LABEL / 2.0);
    let left = WIDTH - MARGIN - text_width(text, NUMBER);
    canvas.text(text, left, y, NUMBER, Align::Left);
    canvas.fill(Area::new(left - GAP - 20.0, y - 10.0, 20.0, 20.0), NOT_FINITE);
}

/// `title`, saying how many of `n` items are left out because a picture holds no more.
pub(crate) fn title_of_part(title: &str, n: usize) -> String {
    match n > MOST {
        true => format!("{title} (first {MOST} of {n})"),
        false => title.to_owned(),
    }
}

fn widest(axis: &Axis) -> f32 {
    axis.ticks.iter().map(|tick| text_width(&tick.text, NUMBER)).fold(0.0, f32::max)
}

/// Distance from a vertical axis to the middle of its title.
fn title_offset(widest: f32) -> f32 {
    TICK + GAP + widest + GAP + LABEL / 2.0
}

/// Space left of panels with the given vertical axes.
pub(crate) fn left_of<'a>(axes: impl IntoIterator<Item = &'a Axis>) -> f32 {
    let widest = axes.into_iter().map(widest).fold(0.0, f32::max);
    LEFT.max(MARGIN + LABEL / 2.0 + title_offset(widest)).ceil()
}

/// An area with an axis below and an axis at its left.
pub(crate) struct Panel {
    pub area: Area,
    pub x: Axis,
    pub y: Axis,
}

impl Panel {
    /// Where a value of the horizontal axis lies.
    pub fn across(&self, value: f64) -> f32 {
        self.area.left + self.x.position(value) as f32 * self.area.width
    }

    /// Where a value of the vertical axis lies.
    pub fn up(&self, value: f64) -> f32 {
        self.area.bottom() - self.y.position(value) as f32 * self.area.height
    }

    /// Faint lines at the ticks of the vertical axis.
    pub fn draw_lines(&self, canvas: &mut Canvas) {
        for tick in &self.y.ticks {
            let y = self.up(tick.value) - THIN / 2.0;
            canvas.fill(Area::new(self.area.left, y, self.area.width, THIN), GRID);
        }
    }

    pub fn draw_frame(&self, canvas: &mut Canvas) {
        canvas.frame(self.area, THIN, INK);
    }

    /// Ticks below the panel; their numbers and the title where `texts`.
    pub fn draw_x(&self, canvas: &mut Canvas, texts: bool) {
        let edge = self.area.bottom() + THIN;
        for Tick { value, text } in &self.x.ticks {
            let x = self.across(*value);
            canvas.fill(Area::new(x - THIN / 2.0, edge, THIN, TICK), INK);
            if texts {
                let y = edge + TICK + GAP + NUMBER / 2.0;
                canvas.text(text, x, y, NUMBER, Align::Centre);
            }
        }
        if texts {
            let y = edge + TICK + GAP + NUMBER + GAP + LABEL / 2.0;
            let title = fit(&self.x.title, LABEL, self.area.width, usize::MAX);
            canvas.text(&title, self.area.middle().0, y, LABEL, Align::Centre);
        }
    }

    /// Ticks and numbers at the left of the panel.
    pub fn draw_y(&self, canvas: &mut Canvas) {
        let edge = self.area.left - THIN;
        for Tick { value, text } in &self.y.ticks {
            let y = self.up(*value);
            canvas.fill(Area::new(edge - TICK, y - THIN / 2.0, TICK, THIN), INK);
            canvas.text(text, edge - TICK - GAP, y, NUMBER, Align::Right);
        }
    }

    /// The title of the vertical axis, along `span`: this panel or all that share the axis.
    pub fn draw_y_title(&self, canvas: &mut Canvas, span: Area) {
        let x = self.area.left - THIN - title_offset(widest(&self.y));
        draw_upright_title(canvas, &self.y.title, x, span);
    }
}

pub(crate) fn draw_upright_title(canvas: &mut Canvas, title: &str, x: f32, span: Area) {
    let title = fit(title, LABEL, span.height, usize::MAX);
    canvas.text_upwards(&title, x, span.middle().1, LABEL, Align::Centre);
}

/// From the upper left corner of the first area to the lower right corner of the last.
pub(crate) fn around(first: Area, last: Area) -> Area {
    let (width, height) = (last.right() - first.left, last.bottom() - first.top);
    Area::new(first.left, first.top, width, height)
}

/// The colours from the lower to the upper end of `axis`, right of `span`.
pub(crate) fn draw_colour_bar(canvas: &mut Canvas, axis: &Axis, map: &ColourMap, span: Area) {
    let bar = Area::new(span.right() + 3.0 * GAP, span.top, COLOUR_BAR, span.height);
    canvas.image(bar, |row, _| map.at(1.0 - (row as f64 + 0.5) / f64::from(bar.height)));
    canvas.frame(bar, THIN, INK);
    let edge = bar.right() + THIN;
    for Tick { value, text } in &axis.ticks {
        let y = bar.bottom() - axis.position(*value) as f32 * bar.height;
        canvas.fill(Area::new(edge, y - THIN / 2.0, TICK, THIN), INK);
        canvas.text(text, edge + TICK + GAP, y, NUMBER, Align::Left);
    }
    draw_upright_title(canvas, &axis.title, edge + title_offset(widest(axis)), span);
}

/// Names beside patches of their colours, in rows above the panels.
pub(crate) struct Legend {
    /// Left edge and row of each entry.
    entries: Vec<(f32, f32, String, Rgb)>,
    /// Height of all rows and the space below; 0 without entries.
    pub height: f32,
}

impl Legend {
    const PATCH: f32 = 30.0;
    const ROW: f32 = LABEL + 12.0;

    /// Entries in rows from `left` to the right border of the picture.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, Rgb)>, left: f32) -> Self {
        let (mut x, mut row) = (left, 0.0);
        let mut entries = Vec::new();
        for (name, colour) in names.into_iter().take(MOST) {
            let room = WIDTH - left - MARGIN - Self::PATCH - GAP;
            let name = fit(name, LABEL, room, NAME_LENGTH);
            let width = Self::PATCH + GAP + text_width(&name, LABEL);
            if x > left && x + width > WIDTH - MARGIN {
                (x, row) = (left, row + 1.0);
            }
            entries.push((x, row, name, colour));
            x += width + 4.0 * GAP;
        }
        let height = if entries.is_empty() { 0.0 } else { (row + 1.0) * Self::ROW + GAP };
        Self { entries, height }
    }

    pub fn draw(&self, canvas: &mut Canvas, top: f32) {
        for (x, row, name, colour) in &self.entries {
            let y = top + (row + 0.5) * Self::ROW;
            canvas.fill(Area::new(*x, y - 9.0, Self::PATCH, 18.0), *colour);
            canvas.text(name, x + Self::PATCH + GAP, y, LABEL, Align::Left);
        }
    }
}
