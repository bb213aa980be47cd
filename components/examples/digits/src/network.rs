//! A network with one hidden layer of rectified linear units and a softmax, trained by stochastic
//! gradient descent with momentum. Plain loops over f32: what a step can do without any library.

use eyot_guest::{Artifact, Error, Result};

use crate::data::{DIGITS, PIXELS, Row, Rows};
use crate::random::Random;

/// Pixels are divided by this, so that they are from 0 to 1.
pub const SCALE: f32 = 16.0;
const BATCH: usize = 32;
const RATE: f32 = 0.05;
const MOMENTUM: f32 = 0.9;

/// Weights, row-major: `hidden` rows of 64, then 10 rows of `hidden`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub hidden: usize,
    pub first: Vec<f32>,
    pub first_bias: Vec<f32>,
    pub second: Vec<f32>,
    pub second_bias: Vec<f32>,
}

/// How a network is trained.
pub struct Training {
    pub seed: u64,
    pub epochs: u32,
    pub hidden: usize,
}

impl Training {
    /// Trains; `report` hears of each epoch's mean loss. Answers the last of them.
    pub fn run(&self, rows: &Rows, mut report: impl FnMut(i64, f64)) -> Result<(Network, f64)> {
        if rows.is_empty() || self.epochs == 0 || !(1..=4096).contains(&self.hidden) {
            return Err(Error::invalid(
                "training needs rows, at least one epoch, and from 1 to 4096 hidden units",
            ));
        }
        let mut random = Random::new(self.seed);
        let mut network = Network::random(self.hidden, &mut random);
        let mut speed = Network::zero(self.hidden);
        let mut order: Vec<&Row> = rows.iter().collect();
        let mut loss = 0.0;
        for epoch in 0..self.epochs {
            random.shuffle(&mut order);
            // The rate falls in a straight line, so that the last epochs only polish.
            let rate = RATE * (1.0 - epoch as f32 / self.epochs as f32);
            let mut sum = 0.0;
            for batch in order.chunks(BATCH) {
                let mut gradient = Network::zero(self.hidden);
                sum += batch.iter().map(|row| network.backward(row, &mut gradient)).sum::<f64>();
                network.step(&mut speed, &gradient, rate / batch.len() as f32);
            }
            loss = sum / order.len() as f64;
            report(i64::from(epoch), loss);
        }
        Ok((network, loss))
    }
}

impl Network {
    fn zero(hidden: usize) -> Self {
        Self {
            hidden,
            first: vec![0.0; hidden * PIXELS],
            first_bias: vec![0.0; hidden],
            second: vec![0.0; DIGITS * hidden],
            second_bias: vec![0.0; DIGITS],
        }
    }

    /// Uniform weights whose spread keeps the variance of what flows (He et al., 2015).
    fn random(hidden: usize, random: &mut Random) -> Self {
        let mut network = Self::zero(hidden);
        let spread = |inputs: usize| (6.0 / inputs as f32).sqrt();
        network.first.iter_mut().for_each(|weight| *weight = random.signed() * spread(PIXELS));
        network.second.iter_mut().for_each(|weight| *weight = random.signed() * spread(hidden));
        network
    }

    fn parts(&mut self) -> [&mut Vec<f32>; 4] {
        [&mut self.first, &mut self.first_bias, &mut self.second, &mut self.second_bias]
    }

    fn step(&mut self, speed: &mut Self, gradient: &Self, rate: f32) {
        let gradients = [&gradient.first, &gradient.first_bias, &gradient.second, &gradient.second_bias];
        for ((weights, speed), gradient) in self.parts().into_iter().zip(speed.parts()).zip(gradients) {
            for ((weight, speed), gradient) in weights.iter_mut().zip(speed).zip(gradient) {
                *speed = MOMENTUM * *speed - rate * gradient;
                *weight += *speed;
            }
        }
    }

    /// What flows through for one row: the input, the hidden layer and the chances.
    pub fn forward(&self, row: &Row) -> ([f32; PIXELS], Vec<f32>, [f32; DIGITS]) {
        let input = row.pixels.map(|pixel| f32::from(pixel) / SCALE);
        let hidden: Vec<f32> = self
            .first
            .chunks_exact(PIXELS)
            .zip(&self.first_bias)
            .map(|(weights, bias)| (dot(weights, &input) + bias).max(0.0))
            .collect();
        let mut chances = [0.0; DIGITS];
        for ((chance, weights), bias) in
            chances.iter_mut().zip(self.second.chunks_exact(self.hidden)).zip(&self.second_bias)
        {
            *chance = dot(weights, &hidden) + bias;
        }
        softmax(&mut chances);
        (input, hidden, chances)
    }

    /// Adds one row's gradient; answers its loss.
    fn backward(&self, row: &Row, gradient: &mut Self) -> f64 {
        let (input, hidden, chances) = self.forward(row);
        let label = usize::from(row.label).min(DIGITS - 1);
        let mut error = chances;
        error[label] -= 1.0;
        let mut hidden_error = vec![0.0; self.hidden];
        for (digit, error) in error.iter().enumerate() {
            let weights = digit * self.hidden..(digit + 1) * self.hidden;
            add(&mut gradient.second[weights.clone()], &hidden, *error);
            gradient.second_bias[digit] += error;
            add(&mut hidden_error, &self.second[weights], *error);
        }
        for (unit, error) in hidden_error.iter().enumerate().filter(|(unit, _)| hidden[*unit] > 0.0) {
            add(&mut gradient.first[unit * PIXELS..(unit + 1) * PIXELS], &input, *error);
            gradient.first_bias[unit] += error;
        }
        -f64::from(chances[label].max(f32::MIN_POSITIVE)).ln()
    }

    /// The weights as bytes: the number of hidden units as a u32, then every f32, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.hidden as u32).to_le_bytes().to_vec();
        let parts = [&self.first, &self.first_bias, &self.second, &self.second_bias];
        bytes.extend(parts.into_iter().flatten().flat_map(|weight| weight.to_le_bytes()));
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::invalid("the weights are not those of a network of this example");
        let (hidden, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
        let hidden = u32::from_le_bytes(*hidden) as usize;
        if hidden > 4096 {
            return Err(wrong());
        }
        let mut network = Self::zero(hidden);
        let mut numbers =
            rest.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        for part in network.parts() {
            for weight in part {
                *weight = numbers.next().ok_or_else(wrong)?;
            }
        }
        if numbers.next().is_some() || !rest.len().is_multiple_of(4) { Err(wrong()) } else { Ok(network) }
    }

    pub fn write(&self) -> Result<Artifact> {
        Artifact::write("application/octet-stream", &self.bytes())
    }

    pub fn read(artifact: &Artifact) -> Result<Self> {
        Self::from_bytes(&artifact.bytes()?)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f32], values: &[f32], factor: f32) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits;

    fn right(network: &Network, rows: &Rows) -> f64 {
        let best = |chances: [f32; DIGITS]| {
            (0..DIGITS).max_by(|a, b| chances[*a].total_cmp(&chances[*b])).unwrap_or_default()
        };
        let right = rows.iter().filter(|row| best(network.forward(row).2) == usize::from(row.label)).count();
        right as f64 / rows.len() as f64
    }

    #[test]
    fn training_learns_and_is_the_same_every_time() {
        let (train, test) = digits().split(0.25, 7).unwrap();
        let training = Training { seed: 7, epochs: 30, hidden: 64 };
        let mut losses = Vec::new();
        let (network, loss) = training.run(&train, |_, loss| losses.push(loss)).unwrap();
        assert!(losses.len() == 30 && losses[29] < losses[0] / 10.0 && losses[29] == loss, "{losses:?}");
        assert!(right(&network, &test) >= 0.95, "{}", right(&network, &test));
        assert_eq!(training.run(&train, |_, _| {}).unwrap().0, network);
        assert_eq!(Network::from_bytes(&network.bytes()).unwrap(), network);
        for bytes in [&network.bytes()[..99], &[], &[255; 8]] {
            assert!(Network::from_bytes(bytes).is_err());
        }
    }

    #[test]
    fn gradients_are_slopes() {
        let row = *digits().iter().next().unwrap();
        let mut network = Network::random(5, &mut Random::new(1));
        let mut gradient = Network::zero(5);
        network.backward(&row, &mut gradient);
        let loss = |network: &Network| network.backward(&row, &mut Network::zero(5));
        for (part, at) in [(0, 70), (1, 2), (2, 13), (3, 4)] {
            let step = 1e-2;
            network.parts()[part][at] += step;
            let above = loss(&network);
            network.parts()[part][at] -= 2.0 * step;
            let below = loss(&network);
            network.parts()[part][at] += step;
            let slope = (above - below) / (2.0 * f64::from(step));
            let found = f64::from(gradient.parts()[part][at]);
            assert!((slope - found).abs() < 1e-3 * slope.abs().max(1.0), "{part} {at}: {slope} {found}");
        }
    }
}
