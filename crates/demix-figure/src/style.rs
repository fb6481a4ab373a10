//! The house style: every size and colour of the pictures, in one place.
//!
//! Sizes are pixels of a picture that is [`WIDTH`] wide and read at half that width.

/// Colour as red, green, blue.
pub(crate) type Rgb = [u8; 3];

/// Width of every picture.
pub(crate) const WIDTH: f32 = 1400.0;
/// Space between the picture's border and the nearest text.
pub(crate) const MARGIN: f32 = 24.0;
/// Smallest space left of a panel, for the numbers and the title of its vertical axis.
pub(crate) const LEFT: f32 = 136.0;
/// Space right of a panel that has nothing beside it; half a time label hangs over there.
pub(crate) const RIGHT: f32 = 64.0;
/// Space right of a panel that has a colour bar beside it.
pub(crate) const RIGHT_OF_BARRED: f32 = 176.0;
/// Space below the lowest panel, for the numbers and the title of the horizontal axis.
pub(crate) const BOTTOM: f32 = 108.0;
/// Space between two panels one above the other, with a heading between them.
pub(crate) const HEADING_GAP: f32 = 56.0;
/// Space between two panels side by side, for the numbers of the right one.
pub(crate) const COLUMN_GAP: f32 = 104.0;

/// Text size of a picture's title.
pub(crate) const TITLE: f32 = 32.0;
/// Text size of axis titles, panel headings and legends.
pub(crate) const LABEL: f32 = 26.0;
/// Text size of the numbers along an axis.
pub(crate) const NUMBER: f32 = 24.0;
/// Smallest text size, for crowded numbers.
pub(crate) const SMALL: f32 = 19.0;

/// Length of a tick.
pub(crate) const TICK: f32 = 8.0;
/// Space between a tick and its number, and between any two texts that belong together.
pub(crate) const GAP: f32 = 8.0;
/// Thickness of frames and ticks.
pub(crate) const THIN: f32 = 2.0;
/// Thickness of curves.
pub(crate) const CURVE: f32 = 3.5;
/// Width of a colour bar.
pub(crate) const COLOUR_BAR: f32 = 28.0;
/// Longest name that is written in full, in characters.
pub(crate) const NAME_LENGTH: usize = 60;
/// Most panels, or legend entries, in one picture; the title says how many are left out.
pub(crate) const MOST: usize = 48;

pub(crate) const INK: Rgb = [32, 33, 36];
pub(crate) const GRID: Rgb = [228, 229, 232];
/// Marks values that are not finite; neither magma nor viridis holds a grey.
pub(crate) const NOT_FINITE: Rgb = [158, 160, 163];

/// Okabe and Ito's colours for categories, readable with any colour vision; their yellow is too
/// faint on white and their black is the ink.
const CATEGORIES: [Rgb; 8] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [122, 82, 62],
    [110, 112, 120],
];

/// Colour of the `i`th source, curve or component.
pub(crate) fn category(i: usize) -> Rgb {
    CATEGORIES[i % CATEGORIES.len()]
}

/// The colour between `colour` (share 0) and white (share 1).
pub(crate) fn towards_white(colour: Rgb, share: f32) -> Rgb {
    colour.map(|c| (f32::from(c) + share * (255.0 - f32::from(c))).round() as u8)
}
