//! Loading: the order of libraries, one load for each filter, and the error of everything that is refused.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use handsfree_audio_filter::{AudioFilter, FilterError, SampleType};
use handsfree_core::capture::Credentials;
use support::{
    LONG_LIMIT, NO_CREDENTIALS, ProbeFilter, build, directory, format, load, load_as, probe, process,
};

fn refused(file: &Path, dependencies: &[&Path]) -> FilterError {
    load_as(&file.to_string_lossy(), file, dependencies, &NO_CREDENTIALS).unwrap_err()
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
fn on_load_is_called_once_with_json_on_the_loading_thread() {
    let file = probe("on_load", &[]);
    let credentials = Credentials { url: "wss://host/\"x\"", token: "secret" };
    let filter = load_as("once", &file, &[], &credentials).unwrap();
    let again = load_as("once", &file, &[], &NO_CREDENTIALS).unwrap();
    assert_eq!((filter.module_id(), filter.file()), ("once", file.as_path()));
    assert_eq!(again.file(), AudioFilter::find("once").unwrap().file());
    assert!(AudioFilter::find("never loaded").is_none());

    let probe = ProbeFilter::of(&file);
    assert_eq!(probe.number("on_loads"), 1);
    assert_eq!(probe.number("on_load_thread_is_mine"), 1);
    assert_eq!(probe.text("on_load_options"), r#"{"url":"wss://host/\"x\"","token":"secret"}"#);
    assert_eq!(probe.number("creates"), 0, "loading makes no session");
    assert!(!format!("{filter:?}{credentials:?}").contains("secret"));
}

#[test]
fn concurrent_loads_of_one_module_share_one_filter() {
    let file = probe("threads", &[]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| load_as("threads", &file, &[], &NO_CREDENTIALS).unwrap());
        }
    });
    assert_eq!(ProbeFilter::of(&file).number("on_loads"), 1);
}

#[test]
fn a_module_id_and_its_file_are_unique() {
    let (first, second) = (probe("first", &[]), probe("second", &[]));
    load_as("one", &first, &[], &NO_CREDENTIALS).unwrap();
    let taken = load_as("one", &second, &[], &NO_CREDENTIALS).unwrap_err();
    assert!(
        matches!(&taken, FilterError::ModuleTaken { loaded, asked, .. } if *loaded == first && *asked == second)
    );

    let link = first.with_file_name("link.so");
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let taken = load_as("two", &link, &[], &NO_CREDENTIALS).unwrap_err();
    assert_eq!(taken, FilterError::FileTaken { file: link.clone(), module_id: "one".to_owned() });
    assert!(taken.to_string().contains("\"one\""), "{taken}");
    assert!(load_as("one", &link, &[], &NO_CREDENTIALS).is_ok(), "a different path to the same file");
    assert_eq!(ProbeFilter::of(&first).number("on_loads"), 1);
}

#[test]
fn missing_files_and_non_libraries_are_refused_by_name() {
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

/// The system's loader would map such a file, and access to the missing part would kill the process.
#[test]
fn a_truncated_library_is_refused_at_any_length() {
    let whole = fs::read(probe("whole", &[])).unwrap();
    let directory = directory("cut");
    let mut loaded = 0;
    let lengths: Vec<_> = (0..whole.len()).step_by(509).chain([whole.len()]).collect();
    for &length in &lengths {
        let file = directory.join(format!("{length}.so"));
        fs::write(&file, &whole[..length]).unwrap();
        match load_as(&file.to_string_lossy(), &file, &[], &NO_CREDENTIALS) {
            Ok(_) => loaded += 1,
            Err(FilterError::NotALibrary { .. }) => {}
            Err(other) => panic!("{length} bytes of {}: {other:?}", whole.len()),
        }
    }
    // A file without its debugging symbols, which follow the loaded segments, is complete for the loader.
    assert!(loaded >= 1 && loaded < lengths.len() / 2, "{loaded} of {} loaded", lengths.len());
}

#[test]
fn each_missing_function_is_reported() {
    for symbol in REQUIRED {
        let switch = symbol.replace("audio_filter_", "OMIT_").to_uppercase();
        let file = probe("missing", &[&switch]);
        let error = refused(&file, &[]);
        assert_eq!(error, FilterError::MissingSymbols { file, symbols: vec![symbol] });
        assert!(error.to_string().ends_with(&format!("is not an audio filter: it does not export {symbol}")));
    }
}

#[test]
fn all_missing_functions_are_reported_together() {
    let file = build("tests/filters/dependency.c", &directory("foreign").join("foreign.so"), &[]);
    let error = refused(&file, &[]);
    assert_eq!(error, FilterError::MissingSymbols { file, symbols: REQUIRED.to_vec() });
    assert!(AudioFilter::find(&error.to_string()).is_none());
}

#[test]
fn a_refused_on_load_can_be_retried() {
    let file = probe("refusing", &["ON_LOAD_CODE=-7", "ON_LOAD_REFUSALS=2"]);
    for _ in 0..2 {
        let error = refused(&file, &[]);
        assert_eq!(error, FilterError::Refused { file: file.clone(), code: -7 });
        assert!(error.to_string().contains("audio_filter_on_load returned -7: expected 0"), "{error}");
        assert!(AudioFilter::find(&file.to_string_lossy()).is_none());
    }
    load(&file);
    assert_eq!(ProbeFilter::of(&file).number("on_loads"), 3, "each attempt uses the same library");
}

#[test]
fn a_nul_in_the_credentials_is_refused_before_loading() {
    let credentials = Credentials { url: "wss://host", token: "to\0ken" };
    let nowhere = Path::new("nowhere.so");
    let error = load_as("nul", nowhere, &[], &credentials).unwrap_err();
    assert_eq!(error, FilterError::NulInText { field: "token", at: 2 });
}

fn dependency(directory: &Path, more: &[&str]) -> std::path::PathBuf {
    let name = format!("libdependency-{}.so", directory.file_name().unwrap().to_string_lossy());
    let soname = format!("-Wl,-soname,{name}");
    build("tests/filters/dependency.c", &directory.join(name), &[&[soname.as_str()], more].concat())
}

fn gain_of(filter: &AudioFilter) -> i16 {
    let mut processor = filter.session(format(16_000, 1), &LONG_LIMIT).unwrap();
    let (out, outcome) = process(&mut processor, &[16_000; 160]);
    outcome.unwrap();
    out[159]
}

/// The filter names its dependency without a path, so the dependency is found only because it is loaded already.
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
    let filter = load_as("by name", &file, &[&dependency], &NO_CREDENTIALS).unwrap();
    assert_eq!(gain_of(&filter), 4_000);
}

/// The filter names no dependency, so the dependency's symbols must be visible to all libraries.
#[test]
fn dependencies_are_found_without_being_linked() {
    let directory = directory("unnamed");
    let dependency = dependency(&directory, &[]);
    let file = build("tests/filters/probe.c", &directory.join("probe.so"), &["-DNEEDS_DEPENDENCY"]);
    let error = refused(&file, &[]);
    assert!(
        matches!(&error, FilterError::NotALibrary { reason, .. } if reason.contains("dependency_gain")),
        "an undefined symbol is reported at loading: {error}"
    );
    let filter = load_as("unnamed", &file, &[&dependency], &NO_CREDENTIALS).unwrap();
    assert_eq!(gain_of(&filter), 4_000);
}

#[test]
fn a_bad_dependency_is_reported_with_the_filter() {
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
    assert_eq!(ProbeFilter::of(&file).number("on_loads"), 0);
}

/// Uses a filter that is refused, because an accepted one stays open.
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
fn the_library_stays_open_after_any_on_load() {
    for (code, name) in [("ON_LOAD_CODE=0", "accepted"), ("ON_LOAD_CODE=1", "refused")] {
        let directory = directory(name);
        let log = directory.join("life.log");
        let life = format!("-DLIFE_LOG=\"{}\"", log.display());
        let code = format!("-D{code}");
        let file = build("tests/filters/probe.c", &directory.join("probe.so"), &[&life, &code]);
        drop(load_as(name, &file, &[], &NO_CREDENTIALS));
        assert_eq!(fs::read_to_string(&log).unwrap(), "filter opened\n", "{name}");
    }
}

#[test]
fn an_incomplete_version_2_is_not_used() {
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
