use super::*;

fn state(files: &[(&str, &str)]) -> AppState {
    let mut state = AppState::default();
    files.iter().for_each(|(name, content)| state.set(name, *content));
    state
}

#[test]
fn chn_15_a_malformed_file_is_named_with_its_value() {
    for (file, content, message) in [
        ("ports", "[0]", "ports: 0 is not in 1..65535"),
        ("ports", "[70000]", "ports: 70000 is not in 1..65535"),
        ("ports", "\"x\"", "ports: \\\"x\\\" is no JSON array"),
        ("cmd", "\"\"", "cmd: "),
        ("cmd", "[\"\"]", "cmd: "),
        ("version", "v1", "version: v1 is no version"),
        ("workingdir", "x", "workingdir: x is no absolute path"),
        ("exit", "seven", "exit: seven is no integer"),
    ] {
        let error = state(&[(file, content)]).check().unwrap_err();
        assert!(error.message.starts_with(message), "{error}");
    }
    state(&[("ports", "[5000, 80]\n"), ("cmd", "[\"a\"]"), ("version", "1.2.3-rc.1")]).check().unwrap();
}

#[test]
fn chn_10_what_says_nothing_clears_and_what_is_not_written_stays() {
    let mut before = state(&[("cmd", "[\"a\"]"), ("ports", "[1]"), ("mykey", "v"), ("x", "1")]);
    let left_out = before.merge(state(&[("cmd", ""), ("ports", " null\n"), ("x", "2"), ("y", "3")]));
    assert!(left_out.is_empty());
    assert_eq!(before, state(&[("mykey", "v"), ("x", "2"), ("y", "3")]));
}

#[test]
fn chn_12_what_comes_next_is_trimmed_and_nil_is_nothing() {
    for nothing in ["nil", " nil\n", "", "null", "\n"] {
        assert_eq!(state(&[("next", nothing)]).take_next(), None, "{nothing:?}");
    }
    let mut next = state(&[("next", " local:cp \n"), ("x", "1")]);
    assert_eq!(next.take_next().as_deref(), Some("local:cp"));
    assert_eq!((next.take_next(), next), (None, state(&[("x", "1")])));
}

#[test]
fn a_directory_reads_back_and_says_what_it_leaves_out() {
    let directory = tempfile::tempdir().unwrap();
    let written = state(&[("cmd", "[\"a\"]"), ("my.key", "v")]);
    written.write(directory.path()).unwrap();
    fs::create_dir(directory.path().join("conflicts")).unwrap();
    fs::write(directory.path().join(".gitignore"), "*").unwrap();
    let (read, left_out) = AppState::read(directory.path()).unwrap();
    assert_eq!(read, written);
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert_eq!(AppState::read(&directory.path().join("none")).unwrap().0, AppState::default());
}

#[test]
fn what_is_too_much_is_left_out_and_named() {
    let mut state = AppState::default();
    (0..MAX_FILES).for_each(|number| state.set(&format!("f{number:02}"), "x"));
    let mut written = AppState::default();
    written.set("f00", "null");
    written.set("f01", "y");
    written.set("new", "z");
    written.set("newer", "z");
    assert_eq!(state.merge(written), ["newer: there are more than 64 files"]);
    assert_eq!(
        (state.get("f00"), state.text("f01").as_deref(), state.text("new").as_deref()),
        (None, Some("y"), Some("z"))
    );
}

#[test]
fn chn_15_images_and_assistants_have_a_form() {
    for (file, value, says) in [
        ("image", "--privileged", "image: --privileged is no reference of an image"),
        ("image", "a b", "image: a b is no reference of an image"),
        ("after", "local:a\nlocal:b", "after: local:a"),
        ("first", "a\tb", "first: a"),
    ] {
        let mut state = AppState::default();
        state.set(file, value);
        let error = state.check().unwrap_err();
        assert!(error.message.starts_with(says), "{error}");
        assert_eq!(error.detail("file").and_then(|file| file.as_str()), Some(file));
    }
    let mut state = AppState::default();
    state.set("image", " sha256:1\n");
    state.set("after", "aip:agents/mend it.aip\n");
    state.check().unwrap();
    assert_eq!(state.image().unwrap().as_deref(), Some("sha256:1"));
}
