//! Spectrograms as PNG data URIs, with time to the right, frequency upwards on a mel scale, and level as
//! colour.

use crate::fft;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Colours from the lowest level, -100 dBFS, to the highest, 0 dBFS: the map "Inferno" by Stéfan van der Walt
/// and Nathaniel Smith (CC0). Its lightness rises uniformly.
pub(super) const COLOURS: [[u8; 3]; 10] = [
    [0x00, 0x00, 0x04],
    [0x1b, 0x0c, 0x41],
    [0x4a, 0x0c, 0x6b],
    [0x78, 0x1c, 0x6d],
    [0xa5, 0x2c, 0x60],
    [0xcf, 0x44, 0x46],
    [0xed, 0x69, 0x25],
    [0xfb, 0x9b, 0x06],
    [0xf7, 0xd1, 0x3d],
    [0xfc, 0xff, 0xa4],
];
/// Lowest level shown, in dBFS of a sine. The highest is 0 dBFS.
pub(super) const FLOOR_DBFS: f64 = -100.0;

const COLUMNS_MAX: usize = 1200;
const ROWS: usize = 200;
/// Number of transforms that are averaged for a column, because a column of a long run covers more than one
/// window.
const TRANSFORMS_PER_COLUMN: usize = 4;

/// Converts hertz to mel (O'Shaughnessy 1987). The scale gives most of the height to speech and still shows
/// high frequencies.
fn mel(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

/// Returns the height of a frequency in the picture, from 0.0 for 0 Hz to 1.0 for half the rate.
pub(super) fn height(hz: f64, rate_hz: u32) -> f64 {
    mel(hz) / mel(f64::from(rate_hz) / 2.0)
}

/// Returns the picture as `data:image/png;base64,...`; `None` for a signal without samples.
pub(super) fn data_uri(signal: &[f32], rate_hz: u32) -> Option<String> {
    let bytes = spectrogram_png(signal, rate_hz)?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

/// Returns a picture of the signal as the content of a PNG file: time to the right, frequency upwards on a mel scale,
/// levels from -100 to 0 dBFS as colours. `None` for a signal without samples. Full scale is 1.
pub fn spectrogram_png(signal: &[f32], rate_hz: u32) -> Option<Vec<u8>> {
    if signal.is_empty() || rate_hz == 0 {
        return None;
    }
    // About 32 ms, which resolves both the harmonics and the syllables of a voice.
    let size = (rate_hz as usize / 31).next_power_of_two().max(64);
    let columns = (signal.len() * 4 / size).clamp(1, COLUMNS_MAX);
    let window: Vec<f32> = (0..size)
        .map(|n| 0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / size as f32).cos())
        .collect();
    // The transform of a full-scale sine peaks at half the sum of the window.
    let full_scale = f64::from(window.iter().sum::<f32>()) / 2.0;

    let plan = fft::forward(size);
    let (mut time, mut bins) = (plan.make_input_vec(), plan.make_output_vec());
    let mut scratch = plan.make_scratch_vec();
    let mut powers = vec![0.0_f64; bins.len()];
    let bin_of = |row: usize| {
        let share = row as f64 / ROWS as f64;
        let hz = 700.0 * (10_f64.powf(mel(f64::from(rate_hz) / 2.0) * share / 2595.0) - 1.0);
        hz / f64::from(rate_hz) * size as f64
    };
    let mut pixels = vec![0_u8; columns * ROWS];
    for column in 0..columns {
        powers.fill(0.0);
        for transform in 0..TRANSFORMS_PER_COLUMN {
            let share =
                (column as f64 + (transform as f64 + 0.5) / TRANSFORMS_PER_COLUMN as f64) / columns as f64;
            let centre = (share * signal.len() as f64) as i64;
            for (n, to) in time.iter_mut().enumerate() {
                let at = usize::try_from(centre + n as i64 - size as i64 / 2);
                *to = at.ok().and_then(|at| signal.get(at)).map_or(0.0, |x| x * window[n]);
            }
            plan.process_with_scratch(&mut time, &mut bins, &mut scratch)
                .expect("the buffers have the plan's lengths");
            for (power, bin) in powers.iter_mut().zip(&bins) {
                *power += f64::from(bin.norm_sqr()) / TRANSFORMS_PER_COLUMN as f64;
            }
        }
        for row in 0..ROWS {
            // A row shows its loudest bin: a mean would hide a single tone among many bins.
            let first = (bin_of(row) as usize).min(powers.len() - 1);
            let last = (bin_of(row + 1).ceil() as usize).clamp(first + 1, powers.len());
            let power = powers[first..last].iter().copied().fold(0.0, f64::max);
            let level_dbfs = 10.0 * (power / (full_scale * full_scale)).log10();
            let share = ((level_dbfs - FLOOR_DBFS) / -FLOOR_DBFS).clamp(0.0, 1.0);
            pixels[(ROWS - 1 - row) * columns + column] = (share * 255.0).round() as u8;
        }
    }
    Some(png(&pixels, columns))
}

fn png(pixels: &[u8], columns: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, columns as u32, ROWS as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette());
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(pixels))
        .expect("size and palette are valid, and writing to memory cannot fail");
    bytes
}

fn palette() -> Vec<u8> {
    (0..256)
        .flat_map(|index| {
            let at = index as f64 / 255.0 * (COLOURS.len() - 1) as f64;
            let low = (at as usize).min(COLOURS.len() - 2);
            let share = at - low as f64;
            std::array::from_fn::<u8, 3, _>(|part| {
                let (a, b) = (f64::from(COLOURS[low][part]), f64::from(COLOURS[low + 1][part]));
                (a + (b - a) * share).round() as u8
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(uri: &str) -> (usize, Vec<u8>) {
        let bytes = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.height as usize), (png::ColorType::Indexed, ROWS));
        (info.width as usize, pixels)
    }

    #[test]
    fn a_full_scale_tone_is_bright_at_its_height_only() {
        for (rate_hz, hz) in [(16_000, 1000.0), (48_000, 12_000.0)] {
            let signal: Vec<f32> = (0..rate_hz)
                .map(|n| (std::f64::consts::TAU * hz * f64::from(n) / f64::from(rate_hz)).sin() as f32)
                .collect();
            let (columns, pixels) = decode(&data_uri(&signal, rate_hz).unwrap());
            let row_of = |hz| ROWS - 1 - (height(hz, rate_hz) * ROWS as f64) as usize;
            let at = |row: usize| pixels[row * columns + columns / 2];
            let brightest = (0..ROWS).max_by_key(|&row| at(row)).unwrap();
            assert!(brightest.abs_diff(row_of(hz)) <= 1, "{brightest} for {}", row_of(hz));
            assert!(at(brightest) >= 250, "{}", at(brightest));
            assert!(at(row_of(hz / 2.0)) < 30 && at(row_of(hz * 1.3)) < 30);
        }
    }

    #[test]
    fn silence_is_dark_and_an_empty_signal_has_no_picture() {
        assert_eq!(data_uri(&[], 48_000), None);
        let (_, pixels) = decode(&data_uri(&[0.0; 100], 48_000).unwrap());
        assert!(pixels.iter().all(|&pixel| pixel == 0));
    }
}
