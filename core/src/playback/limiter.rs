//! Worker side: a sum of tracks back to 16 bits.

/// What happens to a sum beyond 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Limiter {
    /// It saturates; a single source at unity gain passes bit by bit.
    #[default]
    Off,
    /// Everything above -2.5 dBFS is bent smoothly towards full scale, which is never reached.
    Soft,
}

/// Brings a sum back to 16 bits and says how many samples that changed.
pub(crate) type Settle = fn(&[i32], &mut [i16]) -> u32;

impl Limiter {
    pub(crate) const fn settle(self) -> Settle {
        match self {
            Self::Off => clip,
            Self::Soft => soften,
        }
    }
}

pub(crate) fn clip(sum: &[i32], out: &mut [i16]) -> u32 {
    each(sum, out, |wide| wide.clamp(i32::from(i16::MIN), i32::from(i16::MAX)))
}

fn soften(sum: &[i32], out: &mut [i16]) -> u32 {
    each(sum, out, bend)
}

#[inline]
fn each(sum: &[i32], out: &mut [i16], settle: impl Fn(i32) -> i32) -> u32 {
    let mut touched = 0;
    for (sample, &wide) in out.iter_mut().zip(sum) {
        let settled = settle(wide);
        touched += u32::from(settled != wide);
        *sample = settled as i16;
    }
    touched
}

const KNEE: i32 = 24_576;
const HEADROOM: i32 = i16::MAX as i32 - KNEE;

/// Leaves samples up to the knee as they are and bends the excess d to d * H / (d + H): slope 1 at
/// the knee, full scale in the limit.
fn bend(wide: i32) -> i32 {
    let excess = i64::from(wide.unsigned_abs()) - i64::from(KNEE);
    if excess <= 0 {
        return wide;
    }
    let headroom = i64::from(HEADROOM);
    let bent = KNEE + (excess * headroom / (excess + headroom)) as i32;
    if wide < 0 { -bent } else { bent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limiter_is_monotonic_odd_and_stays_inside() {
        let mut before = bend(-1 << 28);
        for wide in (-70_000..70_000).chain([1 << 20, 1 << 28]) {
            let bent = bend(wide);
            assert!(bent >= before && bent.abs() < 32_767, "{wide} -> {bent}");
            assert_eq!(bend(-wide), -bent);
            if wide.abs() <= KNEE {
                assert_eq!(bent, wide);
            }
            before = bent;
        }
    }
}
