//! What air absorbs: ISO 9613-1, equations (3) to (6) and (B.3), at the pressure of sea level.

/// The state of the air.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Air {
    /// Temperature in degrees Celsius.
    pub celsius: f64,
    /// Relative humidity in %.
    pub humidity: f64,
}

impl Air {
    /// Attenuation of a pure tone in dB per m.
    pub fn decibels(&self, hertz: f64) -> f64 {
        // reference and triple-point temperatures, in K
        let (reference, triple) = (293.15, 273.16);
        let kelvin = self.celsius + 273.15;
        let t = kelvin / reference;
        let saturation = 10f64.powf(-6.8346 * (triple / kelvin).powf(1.261) + 4.6151); //                  (B.3)
        let h = self.humidity * saturation;
        let oxygen = 24.0 + 4.04e4 * h * (0.02 + h) / (0.391 + h); //                                       (3)
        let nitrogen = t.powf(-0.5) * (9.0 + 280.0 * h * (-4.170 * (t.powf(-1.0 / 3.0) - 1.0)).exp()); //   (4)
        let f2 = hertz * hertz;
        let relaxation = 0.01275 * (-2239.1 / kelvin).exp() / (oxygen + f2 / oxygen)
            + 0.1068 * (-3352.0 / kelvin).exp() / (nitrogen + f2 / nitrogen);
        8.686 * f2 * (1.84e-11 * t.sqrt() + t.powf(-2.5) * relaxation) //                                   (5)
    }

    /// Attenuation of the energy per m, as the exponent of e^(-m d).
    pub fn exponent(&self, hertz: f64) -> f64 {
        self.decibels(hertz) * std::f64::consts::LN_10 / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_iso_9613_2() {
        // dB per km at 63 Hz to 8 kHz, 70 % humidity (ISO 9613-2, table 2), printed with one decimal
        let table = [
            (10.0, [0.1, 0.4, 1.0, 1.9, 3.7, 9.7, 32.8, 117.0]),
            (20.0, [0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6]),
            (30.0, [0.1, 0.3, 1.0, 3.1, 7.4, 12.7, 23.1, 59.3]),
        ];
        for (celsius, row) in table {
            for (octave, want) in row.into_iter().enumerate() {
                // the standard computes at the exact centres, 1000 Hz times powers of 10^(3/10)
                let hertz = 1000.0 * 10f64.powf(0.3 * (octave as f64 - 4.0));
                let got = 1000.0 * Air { celsius, humidity: 70.0 }.decibels(hertz);
                assert!((got - want).abs() < 0.051 + 0.005 * want, "{celsius} {hertz}: {got} not {want}");
            }
        }
    }
}
