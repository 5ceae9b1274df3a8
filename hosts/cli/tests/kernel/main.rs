//! The command on sound cards of a Linux kernel, whose machine has its own virtual time, so that load on the test computer
//! does not affect the result. This executable is the test outside the machine and the room program inside it.
#![allow(missing_docs)]

#[cfg(target_os = "linux")]
#[path = "../support/alsa_device.rs"]
mod alsa_device;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(target_os = "linux")]
mod room;
#[cfg(target_os = "linux")]
#[path = "../support/samples.rs"]
mod samples;
#[cfg(target_os = "linux")]
mod service;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};

    let mut words = std::env::args();
    if words.nth(1).as_deref() == Some("room") {
        return handsfree_kernel_tests::room::main_with(std::iter::once("room".to_owned()).chain(words));
    }
    let mut arguments = Arguments::from_args();
    // More than two machines at once compete for the processor and do not finish sooner.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(2).min(2));
    let drifts =
        [0, 20, -20, 100, -100].map(|slow_by_10_ppm| room::Case { slow_by_10_ppm, echo_search: false });
    let searches = [room::Case { slow_by_10_ppm: -20, echo_search: true }];
    let trials = drifts
        .into_iter()
        .chain(searches)
        .map(|case| Trial::test(case.name(), move || room::run(case).map_err(Into::into)))
        .chain([
            Trial::test("doctor::measures_a_loopback_correctly", || doctor::run().map_err(Into::into)),
            Trial::test("service::carries_every_sample_of_alsas_programs", || {
                service::carry_every_sample().map_err(Into::into)
            }),
            Trial::test("service::cancels_the_echo_of_alsas_programs", || {
                service::cancel_the_echo().map_err(Into::into)
            }),
        ])
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
