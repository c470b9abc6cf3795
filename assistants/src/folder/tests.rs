use proptest::prelude::*;
use serde_json::json;

use super::*;

struct Made(tempfile::TempDir);

impl Made {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        Self(directory)
    }

    fn read(&self) -> Result<Folder, Error> {
        Folder::read(self.0.path())
    }

    fn refused(&self) -> Error {
        let error = self.read().unwrap_err();
        assert_eq!(error.code, aigis_proxy::Code::InvalidArgument);
        error
    }
}

const GOOD: &str = "FROM busybox\nENTRYPOINT [\"/assistant/cmd\"]\n";

#[test]
fn a_folder_without_settings_has_the_usual_ones() {
    let made = Made::new(&[("name", "test2\n"), ("Dockerfile", GOOD), ("cmd", "#!/bin/sh")]);
    let folder = made.read().unwrap();
    assert_eq!(folder.name.as_str(), "test2");
    assert_eq!(folder.settings, Settings::default());
    assert!(folder.settings.has_network() && folder.secrets.is_none());
}

#[test]
fn chn_63_what_a_folder_lacks_is_named() {
    for (files, file, says) in [
        (&[("Dockerfile", GOOD)][..], "name", "has no file name"),
        (&[("name", "x")], "Dockerfile", "has no Dockerfile"),
        (&[("name", "x"), ("Dockerfile", "FROM busybox\n")], "Dockerfile", "neither ENTRYPOINT nor CMD"),
        (&[("name", "local:x"), ("Dockerfile", GOOD)], "name", "has ':' at position 6"),
        (&[("name", ""), ("Dockerfile", GOOD)], "name", "is empty"),
        (
            &[("name", "x"), ("Dockerfile", GOOD), ("assistant.toml", "\nnetwrk = \"none\"")],
            "assistant.toml",
            "assistant.toml:2:1: unknown key \"netwrk\"; did you mean \"network\"?",
        ),
        (
            &[("name", "x"), ("Dockerfile", GOOD), ("assistant.toml", "network = \"some\"")],
            "assistant.toml",
            "assistant.toml:1:11: network: write \"full\" or \"none\"",
        ),
        (
            &[("name", "x"), ("Dockerfile", GOOD), (".aigis-env", "A=1\nB\n")],
            ".aigis-env",
            ".aigis-env:2:1: this is no variable",
        ),
    ] {
        let error = Made::new(files).refused();
        assert!(error.message.contains(says), "{files:?}: {}", error.message);
        assert_eq!(error.detail("file"), Some(&json!(file)), "{files:?}");
    }
    let error = Folder::read(Path::new("/nonexistent")).unwrap_err();
    assert!(error.message.contains("no directory"), "{error}");
}

#[test]
fn settings_read_back_from_their_json() {
    let text = "description = \" mends \"\ndetect = [\"*.py\", \"!Dockerfile\"]\nstep_timeout = \"90s\"\nnetwork = \"none\"\n\
        deterministic = true\nmemory = \"256m\"\ncpus = 1.5\nuser = true\n";
    let settings = Settings::parse(Path::new("assistant.toml"), text).unwrap();
    let expected = json!({
        "description": "mends", "detect": ["*.py", "!Dockerfile"], "step_timeout_s": 90, "network": "none",
        "deterministic": true, "memory_bytes": 268_435_456, "cpus": 1.5, "user": true,
    });
    assert_eq!(settings.to_json(), expected);
    assert_eq!(Settings::of_json(&expected).unwrap(), settings);
    assert_eq!(Settings::of_json(&serde_json::Value::Null).unwrap(), Settings::default());
    assert_eq!(Settings::of_json(&Settings::default().to_json()).unwrap(), Settings::default());
    assert!(Settings::of_json(&json!({"colour": 1})).is_err());
    for bad in [
        "step_timeout = \"0s\"",
        "step_timeout = 30",
        "step_timeout = \"25h\"",
        "memory = \"1k\"",
        "memory = \"9999999999999g\"",
        "cpus = 0",
        "cpus = \"2\"",
        "cpus = nan",
        "detect = [\"[\"]",
        "detect = [\"!a\"]",
        "user = \"yes\"",
    ] {
        let error = Settings::parse(Path::new("assistant.toml"), bad).unwrap_err();
        assert!(error.message.starts_with("assistant.toml:1:"), "{bad}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_readers(text in "(?s).*") {
        let _ = Settings::parse(Path::new("e"), &text);
    }
}
