//! What is loaded, in which order, once, and what is refused with which words.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use handsfree_audio_filter::{AudioFilter, FilterError, SampleType};
use handsfree_core::capture::Credentials;
use support::{NO_CREDENTIALS, PATIENT, Probe, build, directory, format, load, probe, process};

fn refused(file: &Path, dependencies: &[&Path]) -> FilterError {
    AudioFilter::load(&file.to_string_lossy(), file, dependencies, &NO_CREDENTIALS).unwrap_err()
}

const REQUIRED: [&str; 6] = [
    "audio_filter_on_load",
    "audio_filter_create",
    "audio_filter_destroy",
    "audio_filter_process_int16",
    "audio_filter_process_float",
    "audio_filter_update_stream_info",
];

#[test]
fn on_load_is_called_once_on_the_loading_thread_with_its_json() {
    let file = probe("on_load", &[]);
    let credentials = Credentials { url: "wss://host/\"x\"", token: "secret" };
    let filter = AudioFilter::load("once", &file, &[], &credentials).unwrap();
    let again = AudioFilter::load("once", &file, &[], &NO_CREDENTIALS).unwrap();
    assert_eq!((filter.module_id(), filter.file()), ("once", file.as_path()));
    assert_eq!(again.file(), AudioFilter::find("once").unwrap().file());
    assert!(AudioFilter::find("never loaded").is_none());

    let probe = Probe::of(&file);
    assert_eq!(probe.number("on_loads"), 1);
    assert_eq!(probe.number("on_load_thread_is_mine"), 1);
    assert_eq!(probe.text("on_load_options"), r#"{"url":"wss://host/\"x\"","token":"secret"}"#);
    assert_eq!(probe.number("creates"), 0, "a session is made only when asked for");
    assert!(!format!("{filter:?}{credentials:?}").contains("secret"));
}

#[test]
fn many_threads_that_load_one_module_get_one_filter() {
    let file = probe("threads", &[]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| AudioFilter::load("threads", &file, &[], &NO_CREDENTIALS).unwrap());
        }
    });
    assert_eq!(Probe::of(&file).number("on_loads"), 1);
}

#[test]
fn a_module_id_is_one_file_and_a_file_has_one_module_id() {
    let (first, second) = (probe("first", &[]), probe("second", &[]));
    AudioFilter::load("one", &first, &[], &NO_CREDENTIALS).unwrap();
    let taken = AudioFilter::load("one", &second, &[], &NO_CREDENTIALS).unwrap_err();
    assert!(
        matches!(&taken, FilterError::ModuleTaken { loaded, asked, .. } if *loaded == first && *asked == second)
    );

    let link = first.with_file_name("link.so");
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let taken = AudioFilter::load("two", &link, &[], &NO_CREDENTIALS).unwrap_err();
    assert_eq!(taken, FilterError::FileTaken { file: link.clone(), module_id: "one".to_owned() });
    assert!(taken.to_string().contains("\"one\""), "{taken}");
    assert!(AudioFilter::load("one", &link, &[], &NO_CREDENTIALS).is_ok(), "the same file by another path");
    assert_eq!(Probe::of(&first).number("on_loads"), 1);
}

#[test]
fn what_is_not_there_or_no_library_is_refused_by_name() {
    let directory = directory("nothing");
    let missing = directory.join("missing.so");
    assert_eq!(refused(&missing, &[]), FilterError::NotFound { file: missing.clone() });
    assert!(refused(&missing, &[]).to_string().contains("missing.so: there is no such file"));
    assert!(matches!(refused(&directory, &[]), FilterError::Unreadable { .. }));

    for (name, content) in
        [("empty.so", &b""[..]), ("text.so", b"#!/bin/sh\necho hello\n"), ("magic.so", b"\x7fELF")]
    {
        let file = directory.join(name);
        fs::write(&file, content).unwrap();
        let error = refused(&file, &[]);
        assert!(matches!(error, FilterError::NotALibrary { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
        println!("{error}");
    }
    let nul = Path::new("a\0b");
    assert!(matches!(refused(nul, &[]), FilterError::Unreadable { .. }));
}

/// The loader maps such a file, and the process dies where it touches what is missing.
#[test]
fn a_library_cut_short_is_refused_wherever_it_was_cut() {
    let whole = fs::read(probe("whole", &[])).unwrap();
    let directory = directory("cut");
    let mut loaded = 0;
    let lengths: Vec<_> = (0..whole.len()).step_by(509).chain([whole.len()]).collect();
    for &length in &lengths {
        let file = directory.join(format!("{length}.so"));
        fs::write(&file, &whole[..length]).unwrap();
        match AudioFilter::load(&file.to_string_lossy(), &file, &[], &NO_CREDENTIALS) {
            Ok(_) => loaded += 1,
            Err(FilterError::NotALibrary { .. }) => {}
            Err(other) => panic!("{length} bytes of {}: {other:?}", whole.len()),
        }
    }
    // Symbol tables for debuggers stand behind what is loaded.
    assert!(loaded >= 1 && loaded < lengths.len() / 2, "{loaded} of {} loaded", lengths.len());
}

#[test]
fn each_missing_function_is_named() {
    for symbol in REQUIRED {
        let switch = symbol.replace("audio_filter_", "OMIT_").to_uppercase();
        let file = probe("missing", &[&switch]);
        let error = refused(&file, &[]);
        assert_eq!(error, FilterError::MissingSymbols { file, symbols: vec![symbol] });
        assert!(error.to_string().ends_with(&format!("is no audio filter: it does not export {symbol}")));
    }
}

#[test]
fn a_library_that_is_no_filter_is_told_all_that_it_lacks() {
    let file = build("tests/filters/dependency.c", &directory("foreign").join("foreign.so"), &[]);
    let error = refused(&file, &[]);
    assert_eq!(error, FilterError::MissingSymbols { file, symbols: REQUIRED.to_vec() });
    assert!(AudioFilter::find(&error.to_string()).is_none());
}

#[test]
fn on_load_may_refuse_and_be_asked_again() {
    let file = probe("refusing", &["ON_LOAD_CODE=-7", "ON_LOAD_REFUSALS=2"]);
    for _ in 0..2 {
        let error = refused(&file, &[]);
        assert_eq!(error, FilterError::Refused { file: file.clone(), code: -7 });
        assert!(error.to_string().contains("refused with code -7, expected 0"), "{error}");
        assert!(AudioFilter::find(&file.to_string_lossy()).is_none());
    }
    load(&file);
    assert_eq!(Probe::of(&file).number("on_loads"), 3, "the same library, not a new one");
}

#[test]
fn a_nul_in_the_credentials_is_refused_before_anything_is_loaded() {
    let credentials = Credentials { url: "wss://host", token: "to\0ken" };
    let nowhere = Path::new("nowhere.so");
    let error = AudioFilter::load("nul", nowhere, &[], &credentials).unwrap_err();
    assert_eq!(error, FilterError::NulInText { field: "token", at: 2 });
}

fn dependency(directory: &Path, more: &[&str]) -> std::path::PathBuf {
    let name = format!("libdependency-{}.so", directory.file_name().unwrap().to_string_lossy());
    let soname = format!("-Wl,-soname,{name}");
    build("tests/filters/dependency.c", &directory.join(name), &[&[soname.as_str()], more].concat())
}

fn gain_of(filter: &AudioFilter) -> i16 {
    let mut processor = filter.session(format(16_000, 1), &PATIENT).unwrap();
    let (out, outcome) = process(&mut processor, &[16_000; 160]);
    outcome.unwrap();
    out[159]
}

/// Linked against the dependency by name, without a path: found only because it is there already.
#[test]
fn dependencies_are_loaded_first_and_found_by_name() {
    let directory = directory("by_name");
    let dependency = dependency(&directory, &[]);
    let file = build(
        "tests/filters/probe.c",
        &directory.join("probe.so"),
        &["-DNEEDS_DEPENDENCY", dependency.to_str().unwrap()],
    );
    let error = refused(&file, &[]);
    assert!(
        matches!(&error, FilterError::NotALibrary { reason, .. } if reason.contains("libdependency")),
        "{error}"
    );
    let filter = AudioFilter::load("by name", &file, &[&dependency], &NO_CREDENTIALS).unwrap();
    assert_eq!(gain_of(&filter), 4_000);
}

/// Not linked against anything: the dependency's symbols must be visible to all.
#[test]
fn dependencies_that_the_filter_does_not_name_are_found_too() {
    let directory = directory("unnamed");
    let dependency = dependency(&directory, &[]);
    let file = build("tests/filters/probe.c", &directory.join("probe.so"), &["-DNEEDS_DEPENDENCY"]);
    let error = refused(&file, &[]);
    assert!(
        matches!(&error, FilterError::NotALibrary { reason, .. } if reason.contains("dependency_gain")),
        "a symbol that is nowhere is named before any frame: {error}"
    );
    let filter = AudioFilter::load("unnamed", &file, &[&dependency], &NO_CREDENTIALS).unwrap();
    assert_eq!(gain_of(&filter), 4_000);
}

#[test]
fn a_bad_dependency_is_named_beside_the_filter() {
    let file = probe("dependent", &[]);
    let missing = file.with_file_name("libmissing.so");
    let error = refused(&file, &[&missing]);
    let expected = Box::new(FilterError::NotFound { file: missing.clone() });
    assert_eq!(error, FilterError::Dependency { file: file.clone(), error: expected });
    let text = error.to_string();
    assert!(text.contains("probe.so") && text.contains("libmissing.so: there is no such file"), "{text}");

    let broken = file.with_file_name("libbroken.so");
    fs::write(&broken, "no library").unwrap();
    assert!(matches!(
        refused(&file, &[&broken]),
        FilterError::Dependency { error, .. } if matches!(*error, FilterError::NotALibrary { .. })
    ));
    assert_eq!(Probe::of(&file).number("on_loads"), 0);
}

/// Seen on a filter that is refused, for one that is accepted stays.
#[test]
fn the_filter_is_closed_before_its_dependencies() {
    let directory = directory("closing");
    let log = directory.join("life.log");
    let life = format!("-DLIFE_LOG=\"{}\"", log.display());
    let dependency = dependency(&directory, &[&life]);
    let file = build(
        "tests/filters/probe.c",
        &directory.join("probe.so"),
        &["-DNEEDS_DEPENDENCY", "-DOMIT_DESTROY", &life],
    );
    assert!(matches!(refused(&file, &[&dependency]), FilterError::MissingSymbols { .. }));
    let life = fs::read_to_string(&log).unwrap();
    assert_eq!(life, "dependency opened\nfilter opened\nfilter closed\ndependency closed\n");
}

#[test]
fn an_accepted_or_refused_on_load_keeps_the_library() {
    for (code, name) in [("ON_LOAD_CODE=0", "accepted"), ("ON_LOAD_CODE=1", "refused")] {
        let directory = directory(name);
        let log = directory.join("life.log");
        let life = format!("-DLIFE_LOG=\"{}\"", log.display());
        let code = format!("-D{code}");
        let file = build("tests/filters/probe.c", &directory.join("probe.so"), &[&life, &code]);
        drop(AudioFilter::load(name, &file, &[], &NO_CREDENTIALS));
        assert_eq!(fs::read_to_string(&log).unwrap(), "filter opened\n", "{name}");
    }
}

#[test]
fn half_of_version_2_is_not_used() {
    for (switches, int16, float) in [
        (&["V2"][..], true, true),
        (&["V2_INT16"], true, false),
        (&["HALF_V2"], false, false),
        (&[], false, false),
    ] {
        let filter = load(&probe("half", switches));
        assert_eq!(filter.has_v2(SampleType::Int16), int16, "{switches:?}");
        assert_eq!(filter.has_v2(SampleType::Float), float, "{switches:?}");
    }
}
