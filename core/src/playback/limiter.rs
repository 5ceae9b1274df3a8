//! Worker side: narrows the sum of the tracks to 16 bits.

/// What the mixer does with a sum beyond 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Limiter {
    /// The sum saturates. A single source at unity gain passes bit by bit.
    #[default]
    Off,
    /// Everything above -2.5 dBFS is compressed smoothly towards full scale, which is never reached.
    Soft,
}

/// Narrows a sum to 16 bits and returns how many samples that changed.
pub(crate) type NarrowSum = fn(&[i32], &mut [i16]) -> u32;

impl Limiter {
    pub(crate) const fn narrow(self) -> NarrowSum {
        match self {
            Self::Off => clip,
            Self::Soft => limit_softly,
        }
    }
}

pub(crate) fn clip(sum: &[i32], out: &mut [i16]) -> u32 {
    narrow_each(sum, out, |wide| wide.clamp(i32::from(i16::MIN), i32::from(i16::MAX)))
}

fn limit_softly(sum: &[i32], out: &mut [i16]) -> u32 {
    narrow_each(sum, out, soft_knee)
}

#[inline]
fn narrow_each(sum: &[i32], out: &mut [i16], narrow: impl Fn(i32) -> i32) -> u32 {
    let mut changed = 0;
    for (sample, &wide) in out.iter_mut().zip(sum) {
        let narrowed = narrow(wide);
        changed += u32::from(narrowed != wide);
        *sample = narrowed as i16;
    }
    changed
}

/// Level at which the compression begins: three quarters of full scale, -2.5 dBFS.
const KNEE: i32 = 24_576;
/// Distance from the knee to full scale.
const HEADROOM: i32 = i16::MAX as i32 - KNEE;

/// Returns samples up to the knee unchanged and compresses an excess d above it to d * H / (d + H): slope 1 at
/// the knee, full scale in the limit.
fn soft_knee(wide: i32) -> i32 {
    let excess = i64::from(wide.unsigned_abs()) - i64::from(KNEE);
    if excess <= 0 {
        return wide;
    }
    let headroom = i64::from(HEADROOM);
    let limited = KNEE + (excess * headroom / (excess + headroom)) as i32;
    if wide < 0 { -limited } else { limited }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limiter_is_monotonic_odd_and_stays_inside() {
        let mut before = soft_knee(-1 << 28);
        for wide in (-70_000..70_000).chain([1 << 20, 1 << 28]) {
            let limited = soft_knee(wide);
            assert!(limited >= before && limited.abs() < 32_767, "{wide} -> {limited}");
            assert_eq!(soft_knee(-wide), -limited);
            if wide.abs() <= KNEE {
                assert_eq!(limited, wide);
            }
            before = limited;
        }
    }
}
