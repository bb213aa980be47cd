//! From a scan to what the model was trained on.

const SIDE: usize = 32;
const BLOCK: usize = 4;

/// Pictures of 32 × 32 grey values from 0 to 255 become 8 × 8 values from 0 (paper) to 16 (ink), the
/// mean of each block of 4 × 4. Which of dark and light is ink shows in the border, which is paper.
pub fn pixels(pictures: &[u8]) -> Vec<f32> {
    pictures.chunks_exact(SIDE * SIDE).flat_map(reduce).collect()
}

fn reduce(picture: &[u8]) -> Vec<f32> {
    let edge = |index: usize| {
        let (row, column) = (index / SIDE, index % SIDE);
        [0, SIDE - 1].contains(&row) || [0, SIDE - 1].contains(&column)
    };
    let border: Vec<f32> = picture
        .iter()
        .enumerate()
        .filter(|(index, _)| edge(*index))
        .map(|(_, grey)| f32::from(*grey))
        .collect();
    let light_paper = border.iter().sum::<f32>() > 127.5 * border.len() as f32;
    let ink = |grey: u8| if light_paper { 255.0 - f32::from(grey) } else { f32::from(grey) };
    let side = SIDE / BLOCK;
    let block = |row: usize, column: usize| {
        let greys = (0..BLOCK * BLOCK)
            .map(|index| picture[(row * BLOCK + index / BLOCK) * SIDE + column * BLOCK + index % BLOCK]);
        greys.map(ink).sum::<f32>() / (BLOCK * BLOCK) as f32 * 16.0 / 255.0
    };
    (0..side * side).map(|index| block(index / side, index % side)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_ink_on_light_and_on_dark_paper() {
        let mut dark = vec![0_u8; SIDE * SIDE];
        for row in 4..8 {
            dark[row * SIDE + 8..row * SIDE + 12].fill(255);
        }
        let light: Vec<u8> = dark.iter().map(|grey| 255 - grey).collect();
        let expected: Vec<f32> = (0..64).map(|index| if index == 10 { 16.0 } else { 0.0 }).collect();
        assert_eq!(pixels(&dark), expected);
        assert_eq!(pixels(&light), expected);
        assert_eq!(pixels(&[dark, light].concat()).len(), 128);
    }
}
