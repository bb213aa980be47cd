//! From a picture of any size to what the model was trained on.

/// The model's pictures are of 8 × 8 values from 0 (paper) to 16 (ink).
const SIDE: usize = 8;
/// How many values that is.
pub const LENGTH: usize = SIDE * SIDE;

/// Each of the model's values is the mean ink of its share of the picture. Which of dark and light is ink shows in
/// the border, which is paper.
///
/// Fails, saying why, when the picture is smaller than that or the greys do not fit its size.
pub fn pixels(width: usize, height: usize, greys: &[u8]) -> Result<Vec<f32>, String> {
    if width < SIDE || height < SIDE {
        return Err(format!("a picture of {width} × {height} is too small to hold a digit"));
    }
    if width.checked_mul(height) != Some(greys.len()) {
        return Err(format!("a picture of {width} × {height} does not have {} greys", greys.len()));
    }
    let light_paper = is_light(width, height, greys);
    let ink = |grey: u8| if light_paper { 255.0 - f32::from(grey) } else { f32::from(grey) };
    let share = |part: usize, whole: usize| (part * whole / SIDE)..((part + 1) * whole / SIDE);
    let mean = |row: usize, column: usize| {
        let (rows, columns) = (share(row, height), share(column, width));
        let count = rows.len() * columns.len();
        let inks = rows.flat_map(|y| columns.clone().map(move |x| greys[y * width + x])).map(ink);
        inks.sum::<f32>() / count as f32 * 16.0 / 255.0
    };
    Ok((0..LENGTH).map(|index| mean(index / SIDE, index % SIDE)).collect())
}

fn is_light(width: usize, height: usize, greys: &[u8]) -> bool {
    let edge = |index: &usize| {
        [0, height - 1].contains(&(index / width)) || [0, width - 1].contains(&(index % width))
    };
    let border: Vec<f32> = (0..greys.len()).filter(edge).map(|index| f32::from(greys[index])).collect();
    border.iter().sum::<f32>() > 127.5 * border.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_ink_on_light_and_on_dark_paper_at_any_size() {
        for (width, height) in [(8, 8), (32, 32), (40, 24)] {
            let mut dark = vec![0_u8; width * height];
            for row in height / 8..height / 4 {
                dark[row * width + width / 4..row * width + width * 3 / 8].fill(255);
            }
            let light: Vec<u8> = dark.iter().map(|grey| 255 - grey).collect();
            let expected: Vec<f32> = (0..64).map(|index| if index == 10 { 16.0 } else { 0.0 }).collect();
            assert_eq!(pixels(width, height, &dark).as_ref(), Ok(&expected), "{width} × {height}");
            assert_eq!(pixels(width, height, &light).as_ref(), Ok(&expected), "{width} × {height}");
        }
    }

    #[test]
    fn what_cannot_hold_a_digit_is_refused() {
        for (width, height, length, says) in
            [(7, 8, 56, "too small"), (8, 8, 63, "63 greys"), (usize::MAX, 8, 0, "0 greys")]
        {
            let refused = pixels(width, height, &vec![0; length]);
            assert!(refused.as_ref().is_err_and(|why| why.contains(says)), "{refused:?}");
        }
    }
}
