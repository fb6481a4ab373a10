//! One description of every setting: the struct that the library takes, the command line's help,
//! `demix methods`, settings files and reports are all read from it.
//!
//! A settings struct is written once with [`settings!`](crate::settings!); each field carries its
//! default, unit, range and meaning. Choices are enums written with [`choices!`](crate::choices!).
//!
//! # Example
//! ```
//! use demix_signal::settings::Settings;
//! demix_signal::settings! {
//!     /// How loud.
//!     pub struct Loudness {
//!         /// Gain of the output.
//!         pub gain: f64 = 0.0, unit "dB", range -100.0 ..= 20.0;
//!     }
//! }
//! let mut loudness = Loudness::default();
//! loudness.set("gain", "-3").unwrap();
//! assert_eq!(loudness.gain, -3.0);
//! assert!(loudness.set("gain", "40").unwrap_err().to_string().contains("-100 to 20"));
//! ```

use serde_json::{Map, Value};

/// What is known of one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Name, as in `--set NAME=VALUE`.
    pub name: &'static str,
    /// `integer`, `number`, `switch`, `choice` or `text`.
    pub kind: &'static str,
    /// Unit, empty for pure numbers.
    pub unit: &'static str,
    /// Smallest and largest value allowed, where there is a range.
    pub range: Option<(f64, f64)>,
    /// The values of a choice with their meanings, empty for other kinds.
    pub choices: Vec<(&'static str, &'static str)>,
    /// The default.
    pub default: Value,
    /// Meaning and effect, one paragraph.
    pub doc: String,
}

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingError {
    /// No setting has this name.
    #[error("there is no setting '{name}'{}", suggestion(.nearest))]
    Unknown {
        /// The name as given.
        name: String,
        /// The nearest known name.
        nearest: Option<&'static str>,
    },
    /// The text is not a value of the setting's kind.
    #[error("{name}={value}: {problem}")]
    NotAValue {
        /// The setting.
        name: &'static str,
        /// The text as given.
        value: String,
        /// What was expected.
        problem: String,
    },
    /// The value lies outside the range.
    #[error("{name}={value} is out of range: take a value from {low} to {high}{unit}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// The value as given.
        value: String,
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Unit with a leading space, or empty.
        unit: String,
    },
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// A struct whose fields can be listed, read and set by name.
pub trait Settings {
    /// All settings in the order in which they are shown, with their defaults.
    fn table() -> Vec<Setting>
    where
        Self: Sized;

    /// Sets one setting from text, as typed on the command line or written in a file.
    ///
    /// # Errors
    /// An unknown name (with the nearest known one), text that is no value, a value out of range.
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError>;

    /// All values by name, defaults included.
    fn values(&self) -> Map<String, Value>;

    /// Checks every field against its range, for settings that were filled in by hand.
    ///
    /// # Errors
    /// The first field that is out of range.
    fn check(&self) -> Result<(), SettingError>;
}

/// A type that a setting can have.
pub trait SettingValue: Sized + Clone {
    /// As in [`Setting::kind`].
    const KIND: &'static str;
    /// The values of a choice with their meanings.
    fn choices() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
    /// Reads a value.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// The value for reports.
    fn to_value(&self) -> Value;
    /// The value as a number, for range checks; `None` where a range has no meaning.
    fn number(&self) -> Option<f64> {
        None
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl SettingValue for $type {
            const KIND: &'static str = "integer";
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| "a whole number was expected".into())
            }
            fn to_value(&self) -> Value {
                (*self).into()
            }
            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
        }
    )+};
}
whole_numbers!(usize, u64);

impl SettingValue for f64 {
    const KIND: &'static str = "number";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(x),
            _ => Err("a finite number was expected".into()),
        }
    }
    fn to_value(&self) -> Value {
        (*self).into()
    }
    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "switch";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("'true' or 'false' was expected".into()),
        }
    }
    fn to_value(&self) -> Value {
        (*self).into()
    }
}

/// `auto` or a value.
impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: &'static str = T::KIND;
    fn choices() -> Vec<(&'static str, &'static str)> {
        T::choices()
    }
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "auto" {
            return Ok(None);
        }
        T::parse(text).map(Some).map_err(|problem| format!("{problem}, or 'auto'"))
    }
    fn to_value(&self) -> Value {
        self.as_ref().map_or_else(|| "auto".into(), T::to_value)
    }
    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
}

/// The known name that is nearest to a mistyped one, if any is near.
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + name.chars().count() / 3;
    known
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[doc(hidden)]
pub fn check_range<T: SettingValue>(
    name: &'static str,
    value: &T,
    range: Option<(f64, f64)>,
    unit: &str,
) -> Result<(), SettingError> {
    let (Some((low, high)), Some(x)) = (range, value.number()) else { return Ok(()) };
    if (low..=high).contains(&x) {
        return Ok(());
    }
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let value = value.to_value().to_string();
    Err(SettingError::OutOfRange { name, value, low, high, unit })
}

#[doc(hidden)]
pub fn parse_value<T: SettingValue>(name: &'static str, text: &str) -> Result<T, SettingError> {
    T::parse(text).map_err(|problem| SettingError::NotAValue { name, value: text.into(), problem })
}

#[doc(hidden)]
pub fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Writes a settings struct with its table; see the [module](mod@crate::settings).
#[macro_export]
macro_rules! settings {
    (@unit) => { "" };
    (@unit $unit:literal) => { $unit };
    (@range) => { None };
    (@range $low:literal, $high:literal) => { Some(($low, $high)) };
    (
        $(#[doc = $struct_doc:expr])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:expr])+
                pub $field:ident : $type:ty = $default:expr
                    $(, unit $unit:literal)? $(, range $low:literal ..= $high:literal)? ;
            )+
        }
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::settings::Settings for $name {
            fn table() -> Vec<$crate::settings::Setting> {
                let default = Self::default();
                vec![$(
                    $crate::settings::Setting {
                        name: stringify!($field),
                        kind: <$type as $crate::settings::SettingValue>::KIND,
                        unit: $crate::settings!(@unit $($unit)?),
                        range: $crate::settings!(@range $($low, $high)?),
                        choices: <$type as $crate::settings::SettingValue>::choices(),
                        default: $crate::settings::SettingValue::to_value(&default.$field),
                        doc: $crate::settings::paragraph(&[$($doc),+]),
                    },
                )+]
            }

            fn set(&mut self, name: &str, value: &str) -> Result<(), $crate::settings::SettingError> {
                match name {
                    $(stringify!($field) => {
                        let parsed: $type = $crate::settings::parse_value(stringify!($field), value)?;
                        let mut changed = self.clone();
                        changed.$field = parsed;
                        $crate::settings::Settings::check(&changed)?;
                        *self = changed;
                        Ok(())
                    })+
                    _ => Err($crate::settings::SettingError::Unknown {
                        name: name.into(),
                        nearest: $crate::settings::nearest_name(name, [$(stringify!($field)),+]),
                    }),
                }
            }

            fn values(&self) -> ::serde_json::Map<String, ::serde_json::Value> {
                let mut map = ::serde_json::Map::new();
                $(map.insert(
                    stringify!($field).into(),
                    $crate::settings::SettingValue::to_value(&self.$field),
                );)+
                map
            }

            fn check(&self) -> Result<(), $crate::settings::SettingError> {
                $($crate::settings::check_range(
                    stringify!($field),
                    &self.$field,
                    $crate::settings!(@range $($low, $high)?),
                    $crate::settings!(@unit $($unit)?),
                )?;)+
                Ok(())
            }
        }
    };
}

/// Joins settings structs into one whose names are those of all its parts; see the
/// [module](mod@crate::settings).
#[macro_export]
macro_rules! settings_group {
    (
        $(#[doc = $struct_doc:expr])+
        pub struct $name:ident {
            $( $(#[doc = $doc:expr])+ pub $part:ident : $type:ty, )+
        }
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $part: $type, )+
        }

        impl $crate::settings::Settings for $name {
            fn table() -> Vec<$crate::settings::Setting> {
                let mut table = Vec::new();
                $(table.extend(<$type as $crate::settings::Settings>::table());)+
                table
            }

            fn set(&mut self, name: &str, value: &str) -> Result<(), $crate::settings::SettingError> {
                $(if $crate::settings::knows::<$type>(name) {
                    return $crate::settings::Settings::set(&mut self.$part, name, value);
                })+
                let table = <Self as $crate::settings::Settings>::table();
                let nearest = $crate::settings::nearest_name(name, table.iter().map(|setting| setting.name));
                // the names themselves live as long as the program
                let nearest = table.iter().map(|setting| setting.name).find(|known| Some(*known) == nearest);
                Err($crate::settings::SettingError::Unknown { name: name.into(), nearest })
            }

            fn values(&self) -> ::serde_json::Map<String, ::serde_json::Value> {
                let mut values = ::serde_json::Map::new();
                $(values.extend($crate::settings::Settings::values(&self.$part));)+
                values
            }

            fn check(&self) -> Result<(), $crate::settings::SettingError> {
                $($crate::settings::Settings::check(&self.$part)?;)+
                Ok(())
            }
        }
    };
}

#[doc(hidden)]
pub fn knows<S: Settings>(name: &str) -> bool {
    S::table().iter().any(|setting| setting.name == name)
}

/// Writes an enum whose variants have names in settings; see the [module](mod@crate::settings).
#[macro_export]
macro_rules! choices {
    (
        $(#[doc = $enum_doc:expr])+
        pub enum $name:ident {
            $( $(#[doc = $doc:expr])+ $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[doc = $enum_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl $name {
            /// The name in settings and reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::settings::SettingValue for $name {
            const KIND: &'static str = "choice";
            fn choices() -> Vec<(&'static str, &'static str)> {
                vec![$(($text, concat!($($doc),+).trim()),)+]
            }
            fn parse(text: &str) -> Result<Self, String> {
                match text.trim() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("one of {} was expected", [$($text),+].join(", "))),
                }
            }
            fn to_value(&self) -> ::serde_json::Value {
                self.name().into()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// A colour.
        pub enum Colour {
            /// Like blood.
            Red = "red",
            /// Like grass.
            Green = "green",
        }
    }
    settings! {
        /// Test settings.
        pub struct Paint {
            /// How many
            /// buckets.
            pub buckets: usize = 3, range 1.0 ..= 9.0;
            /// Which colour.
            pub colour: Colour = Colour::Red;
            /// Thickness.
            pub thickness: Option<f64> = None, unit "mm", range 0.0 ..= 2.0;
            /// Gloss or not.
            pub gloss: bool = false;
        }
    }

    #[test]
    fn the_table_tells_what_the_struct_says() {
        let table = Paint::table();
        assert_eq!(table[0].doc, "How many buckets.");
        assert_eq!(table[1].choices[1], ("green", "Like grass."));
        assert_eq!((table[2].unit, table[2].range), ("mm", Some((0.0, 2.0))));
        assert_eq!(table[2].default, "auto");
    }

    #[test]
    fn values_are_read_checked_and_refused_in_one_line() {
        let mut paint = Paint::default();
        paint.set("colour", "green").unwrap();
        paint.set("thickness", "0.5").unwrap();
        paint.set("gloss", "on").unwrap();
        assert_eq!(
            serde_json::to_string(&paint.values()).unwrap(),
            r#"{"buckets":3,"colour":"green","thickness":0.5,"gloss":true}"#
        );
        let refuse = |name: &str, value: &str| Paint::default().set(name, value).unwrap_err().to_string();
        assert_eq!(refuse("bucket", "1"), "there is no setting 'bucket'; did you mean 'buckets'?");
        assert_eq!(refuse("buckets", "0"), "buckets=0 is out of range: take a value from 1 to 9");
        assert_eq!(refuse("thickness", "3"), "thickness=3.0 is out of range: take a value from 0 to 2 mm");
        assert_eq!(refuse("colour", "blue"), "colour=blue: one of red, green was expected");
        assert_eq!(refuse("buckets", "-1"), "buckets=-1: a whole number was expected");
        assert_eq!(refuse("thickness", "nan"), "thickness=nan: a finite number was expected, or 'auto'");
        paint.buckets = 0;
        assert!(paint.check().is_err());
    }

    settings_group! {
        /// Two in one.
        pub struct House {
            /// Inside.
            pub paint: Paint,
            /// Outside.
            pub garden: Garden,
        }
    }
    settings! {
        /// More test settings.
        pub struct Garden {
            /// How many.
            pub trees: usize = 2;
        }
    }

    #[test]
    fn groups_know_the_names_of_their_parts() {
        let mut house = House::default();
        house.set("trees", "5").unwrap();
        house.set("buckets", "4").unwrap();
        assert_eq!((house.garden.trees, house.paint.buckets), (5, 4));
        assert_eq!(House::table().len(), 5);
        assert_eq!(house.values()["trees"], 5);
        let error = house.set("treees", "1").unwrap_err().to_string();
        assert_eq!(error, "there is no setting 'treees'; did you mean 'trees'?");
        assert!(house.set("buckets", "77").is_err());
    }

    #[test]
    fn edit_distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(nearest_name("zzz", ["buckets"]), None);
    }
}
