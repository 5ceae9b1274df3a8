//! The cancellers that hold a conversation: each tail in either storage, at 16 kHz.

use handsfree_core::canceller::{FullStorage, LeanStorage};
use handsfree_core::echo_canceller;

echo_canceller! {
    /// 32 ms in lean storage.
    pub type Lean32 = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 32 };
}
echo_canceller! {
    /// 64 ms in lean storage.
    pub type Lean64 = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 64 };
}
echo_canceller! {
    /// 128 ms in lean storage.
    pub type Lean128 = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
}
echo_canceller! {
    /// 256 ms in lean storage.
    pub type Lean256 = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 256 };
}
echo_canceller! {
    /// 32 ms in full storage.
    pub type Full32 = EchoCanceller<FullStorage> { rate_hz: 16_000, tail_ms: 32 };
}
echo_canceller! {
    /// 64 ms in full storage.
    pub type Full64 = EchoCanceller<FullStorage> { rate_hz: 16_000, tail_ms: 64 };
}
echo_canceller! {
    /// 128 ms in full storage.
    pub type Full128 = EchoCanceller<FullStorage> { rate_hz: 16_000, tail_ms: 128 };
}
echo_canceller! {
    /// 256 ms in full storage.
    pub type Full256 = EchoCanceller<FullStorage> { rate_hz: 16_000, tail_ms: 256 };
}

/// Calls a macro with the name and the type of each canceller, and the length of its conversation in frames of
/// 10 ms.
#[macro_export]
macro_rules! for_each_canceller {
    ($visit:ident) => {
        $visit! {
            "lean, 32 ms" Lean32 200;
            "lean, 64 ms" Lean64 200;
            "lean, 128 ms" Lean128 800;
            "lean, 256 ms" Lean256 200;
            "full, 32 ms" Full32 200;
            "full, 64 ms" Full64 200;
            "full, 128 ms" Full128 400;
            "full, 256 ms" Full256 200;
        }
    };
}
