//! Rows: 64 pixels from 0 to 16 and the digit that they show.

use eyot_guest::{Artifact, Error, Result};

use crate::random::Random;

pub const PIXELS: usize = 64;
pub const DIGITS: usize = 10;
const DARKEST: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub pixels: [u8; PIXELS],
    pub label: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(Vec<Row>);

impl Rows {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.0.iter()
    }

    /// Reads CSV with the header `p0,…,p63,label`. An error names line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map(|(_, line)| line.trim()).unwrap_or_default();
        if header != Self::header() {
            let found: String = header.chars().take(40).collect();
            return Err(Error::invalid(format!("line 1: the header is p0,…,p63,label, not '{found}'")));
        }
        lines.map(|(index, line)| row(index + 1, line)).collect::<Result<Vec<_>>>().map(Self)
    }

    fn header() -> String {
        let pixels: Vec<_> = (0..PIXELS).map(|pixel| format!("p{pixel}")).collect();
        format!("{},label", pixels.join(","))
    }

    pub fn read(artifact: &Artifact) -> Result<Self> {
        Self::parse(&artifact.text()?)
    }

    pub fn csv(&self) -> String {
        let mut text = Self::header();
        for row in &self.0 {
            text.push('\n');
            for pixel in row.pixels {
                text.push_str(&format!("{pixel},"));
            }
            text.push_str(&row.label.to_string());
        }
        text.push('\n');
        text
    }

    pub fn write(&self) -> Result<Artifact> {
        Artifact::write("text/csv", self.csv().as_bytes())
    }

    /// Checks ranges; answers how many digits there are, which must be all.
    pub fn validate(&self) -> Result<u64> {
        let mut seen = [0_usize; DIGITS];
        for (index, row) in self.0.iter().enumerate() {
            if let Some(column) = row.pixels.iter().position(|pixel| *pixel > DARKEST) {
                let found = row.pixels[column];
                return Err(Error::invalid(format!(
                    "row {}, p{column}: a pixel is from 0 to {DARKEST}, not {found}",
                    index + 1
                )));
            }
            let label = usize::from(row.label);
            *seen.get_mut(label).ok_or_else(|| {
                Error::invalid(format!("row {}: a label is from 0 to 9, not {label}", index + 1))
            })? += 1;
        }
        match seen.iter().position(|count| *count == 0) {
            Some(digit) => Err(Error::invalid(format!("no row shows a {digit}"))),
            None => Ok(DIGITS as u64),
        }
    }

    /// A part of each digit's rows, and the rest first.
    pub fn split(&self, test_fraction: f64, seed: u64) -> Result<(Self, Self)> {
        if !(0.0..1.0).contains(&test_fraction) {
            return Err(Error::invalid(format!("test-fraction is from 0 to below 1, not {test_fraction}")));
        }
        let mut random = Random::new(seed);
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for digit in 0..DIGITS as u8 {
            let mut rows: Vec<Row> = self.0.iter().filter(|row| row.label == digit).copied().collect();
            random.shuffle(&mut rows);
            let aside = (rows.len() as f64 * test_fraction).round() as usize;
            train.extend_from_slice(&rows[aside..]);
            test.extend_from_slice(&rows[..aside]);
        }
        random.shuffle(&mut train);
        random.shuffle(&mut test);
        Ok((Self(train), Self(test)))
    }
}

fn row(line: usize, text: &str) -> Result<Row> {
    let mut values = [0; PIXELS + 1];
    let mut columns = text.trim().split(',');
    for (column, value) in values.iter_mut().enumerate() {
        let cell = columns
            .next()
            .ok_or_else(|| Error::invalid(format!("line {line}: there are {column} columns, not 65")))?;
        *value = cell.trim().parse().map_err(|_| {
            Error::invalid(format!(
                "line {line}, column {}: '{cell}' is no whole number from 0 to 255",
                column + 1
            ))
        })?;
    }
    if columns.next().is_some() {
        return Err(Error::invalid(format!("line {line}: there are more than 65 columns")));
    }
    let mut pixels = [0; PIXELS];
    pixels.copy_from_slice(&values[..PIXELS]);
    Ok(Row { pixels, label: values[PIXELS] })
}

#[cfg(test)]
pub(crate) fn digits() -> Rows {
    Rows::parse(include_str!("../data/digits.csv")).expect("the data in this folder is good")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_what_its_page_says() {
        let rows = digits();
        assert_eq!((rows.len(), rows.validate().unwrap()), (1797, 10));
        assert_eq!(Rows::parse(&rows.csv()).unwrap(), rows);
    }

    #[test]
    fn parts_hold_every_row_once_and_keep_the_mix() {
        let rows = digits();
        let (train, test) = rows.split(0.25, 7).unwrap();
        // A quarter of each digit, rounded.
        assert_eq!((train.len() + test.len(), test.len()), (1797, 451));
        let sorted = |rows: Vec<Row>| {
            let mut rows: Vec<_> = rows.iter().map(|row| (row.pixels, row.label)).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted([train.0.clone(), test.0.clone()].concat()), sorted(rows.0.clone()));
        for digit in 0..10 {
            let share = test.iter().filter(|row| row.label == digit).count();
            assert!((43..=47).contains(&share), "{digit}: {share}");
        }
        assert_eq!(rows.split(0.25, 7).unwrap(), (train.clone(), test));
        assert_ne!(rows.split(0.25, 8).unwrap().0, train);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = digits().csv();
        let lines: Vec<_> = good.lines().collect();
        let with = |line: &str| format!("{}\n{line}\n", lines[0]);
        for (text, says) in [
            ("a,b\n1,2\n".to_owned(), "line 1: the header is p0,…,p63,label, not 'a,b'"),
            (with("1,2"), "line 2: there are 2 columns, not 65"),
            (with(&format!("{},1", lines[1])), "line 2: there are more than 65 columns"),
            (with(&lines[1].replacen("5", "x", 1)), "line 2, column 3: 'x' is no whole number from 0 to 255"),
        ] {
            assert_eq!(Rows::parse(&text).unwrap_err().to_string(), says);
        }
        for (text, says) in [
            (with(&lines[1].replacen("5", "17", 1)), "row 1, p2: a pixel is from 0 to 16, not 17"),
            (
                with(&format!("{}10", &lines[1][..lines[1].len() - 1])),
                "row 1: a label is from 0 to 9, not 10",
            ),
            (with(lines[1]), "no row shows a 1"),
        ] {
            assert_eq!(Rows::parse(&text).unwrap().validate().unwrap_err().to_string(), says);
        }
    }
}
