//! Guest program: room acoustics between two loopback cards.

use std::process::ExitCode;

fn main() -> ExitCode {
    handsfree_kernel_tests::room::main_with(std::env::args())
}
